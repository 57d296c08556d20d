"""Networks of public repositories on which the rules of the selection were not tuned.

They have the layers, in the names and the order of their authors, but no forward pass: a state dict does not need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

from torch import nn

Build = Callable[[], nn.Module]
Parts = dict[str, nn.Module]


def tree(**parts: nn.Module) -> nn.Module:
    """A module with these parts, in order. `a__b` is the part `b` of a submodule `a`."""
    whole = nn.Module()
    for name, part in parts.items():
        owner, _, last = name.rpartition("__")
        place = whole
        for step in filter(None, owner.split("__")):
            if not hasattr(place, step):
                place.add_module(step, nn.Module())
            place = getattr(place, step)
        place.add_module(last, part)
    return whole


def conv(inputs: int, outputs: int, side: int = 3, *, sides: int = 2, bias: bool = True, **options: Any) -> nn.Module:
    """A convolution."""
    return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[sides - 1](inputs, outputs, side, bias=bias, **options)


def up(inputs: int, outputs: int, side: int = 2, *, sides: int = 2, bias: bool = True, **options: Any) -> nn.Module:
    """A transposed convolution."""
    made = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[sides - 1]
    return made(inputs, outputs, side, bias=bias, **options)


def norm(channels: int) -> nn.Module:
    """A batch norm, which has weights."""
    return nn.BatchNorm2d(channels)


def brain_segmentation(channels: int) -> nn.Module:
    """mateuszbuda/brain-segmentation-pytorch: `encoder1.enc1conv1`; only transposed convolutions have biases."""
    parts: Parts = {}
    sides = [32, 64, 128, 256, 512]

    def block(owner: str, name: str, inputs: int, outputs: int) -> None:
        for number, width in ((1, inputs), (2, outputs)):
            parts[f"{owner}__{name}conv{number}"] = conv(width, outputs, bias=False)
            parts[f"{owner}__{name}norm{number}"] = norm(outputs)

    for level, (inputs, outputs) in enumerate(zip([channels, *sides], sides, strict=False), 1):
        block(*((f"encoder{level}", f"enc{level}") if level < 5 else ("bottleneck", "bottleneck")), inputs, outputs)
    for level in (4, 3, 2, 1):
        parts[f"upconv{level}"] = up(sides[level], sides[level - 1])
        block(f"decoder{level}", f"dec{level}", 2 * sides[level - 1], sides[level - 1])
    return tree(**parts, conv=conv(32, 1, 1))


def unet_milesial(channels: int) -> nn.Module:
    """milesial/Pytorch-UNet: `down1.maxpool_conv.1.double_conv.0`, `up1.up`."""

    def double(inputs: int, outputs: int) -> nn.Module:
        rest = (nn.ReLU(), conv(outputs, outputs, bias=False), norm(outputs), nn.ReLU())
        return nn.Sequential(conv(inputs, outputs, bias=False), norm(outputs), *rest)

    parts: Parts = {"inc__double_conv": double(channels, 64)}
    for level, width in enumerate((128, 256, 512, 1024), 1):
        down = tree(double_conv=double(width // 2, width))
        parts[f"down{level}"] = tree(maxpool_conv=nn.Sequential(nn.MaxPool2d(2), down))
    for level, width in enumerate((512, 256, 128, 64), 1):
        parts[f"up{level}"] = tree(up=up(2 * width, width), conv=tree(double_conv=double(2 * width, width)))
    return tree(**parts, outc__conv=conv(64, 2, 1))


def unet_plain(channels: int) -> nn.Module:
    """A U-Net without biases or norms, as nnU-Net 1 writes its transposed convolutions: `tu.0`."""
    widths = [32, 64, 128, 256]
    blocks = [nn.Sequential(conv(a, b), conv(b, b)) for a, b in zip([channels, *widths], widths, strict=False)]
    ups = [up(b, a, bias=False) for a, b in pairwise(widths)][::-1]
    local = [nn.Sequential(conv(2 * a, a), conv(a, a)) for a in widths[-2::-1]]
    return tree(
        conv_blocks_localization=nn.ModuleList(local),
        conv_blocks_context=nn.ModuleList(blocks),
        tu=nn.ModuleList(ups),
        seg_outputs=nn.ModuleList([conv(a, 3, 1, bias=False) for a in widths[-2::-1]]),
    )


def yolo_block(inputs: int, outputs: int, side: int = 1, **options: int) -> nn.Module:
    """Ultralytics' Conv: `conv`, `bn`."""
    return tree(conv=conv(inputs, outputs, side, bias=False, **options), bn=norm(outputs))


def yolov5(channels: int) -> nn.Module:
    """ultralytics/yolov5n: a stem of 6x6 with a stride of 2, C3 blocks, a head of 1x1 convolutions."""

    def c3(inputs: int, outputs: int, repeats: int) -> nn.Module:
        half = outputs // 2
        inner = [tree(cv1=yolo_block(half, half), cv2=yolo_block(half, half, 3)) for _ in range(repeats)]
        ends = {"cv1": yolo_block(inputs, half), "cv2": yolo_block(inputs, half), "cv3": yolo_block(2 * half, outputs)}
        return tree(**ends, m=nn.Sequential(*inner))

    layers = [yolo_block(channels, 16, 6), yolo_block(16, 32, 3), c3(32, 32, 1), yolo_block(32, 64, 3), c3(64, 64, 2)]
    layers += [yolo_block(64, 128, 3), c3(128, 128, 3), yolo_block(128, 256, 3), c3(256, 256, 1)]
    layers += [tree(cv1=yolo_block(256, 128), cv2=yolo_block(512, 256)), yolo_block(256, 128), nn.Upsample()]
    return tree(model=nn.Sequential(*layers, c3(256, 128, 1), tree(m=nn.ModuleList([conv(128, 255, 1)]))))


def yolov8(channels: int) -> nn.Module:
    """ultralytics/yolov8n: C2f blocks, and a last 1x1 convolution (1, 16, 1, 1) over the bins of distances."""

    def c2f(inputs: int, outputs: int) -> nn.Module:
        half = outputs // 2
        inner = nn.ModuleList([tree(cv1=yolo_block(half, half, 3), cv2=yolo_block(half, half, 3))])
        return tree(cv1=yolo_block(inputs, outputs), cv2=yolo_block(3 * half, outputs), m=inner)

    layers = [yolo_block(channels, 16, 3), yolo_block(16, 32, 3), c2f(32, 32), yolo_block(32, 64, 3), c2f(64, 64)]
    boxes = nn.ModuleList([nn.Sequential(yolo_block(64, 64, 3), yolo_block(64, 64, 3), conv(64, 64, 1))])
    names = nn.ModuleList([nn.Sequential(yolo_block(64, 80, 3), yolo_block(80, 80, 3), conv(80, 80, 1))])
    head = tree(cv2=boxes, cv3=names, dfl__conv=conv(16, 1, 1, bias=False))
    return tree(model=nn.Sequential(*layers, head))


def dcgan(channels: int) -> nn.Module:
    """pytorch/examples: both networks in one file, no biases."""
    widths = [512, 256, 128, 64]
    up_layers: list[nn.Module] = []
    for inputs, outputs in zip([100, *widths], widths, strict=False):
        up_layers += [up(inputs, outputs, 4, bias=False), norm(outputs), nn.ReLU()]
    down_layers: list[nn.Module] = [conv(channels, 64, 4, bias=False), nn.ReLU()]
    for inputs, outputs in zip(widths[::-1], widths[-2::-1], strict=False):
        down_layers += [conv(inputs, outputs, 4, bias=False), norm(outputs), nn.ReLU()]
    generator = nn.Sequential(*up_layers, up(64, channels, 4, bias=False), nn.Tanh())
    judge = nn.Sequential(*down_layers, conv(512, 1, 4, bias=False))
    return tree(netG__main=generator, netD__main=judge)


def cyclegan(channels: int) -> nn.Module:
    """junyanz/pytorch-CycleGAN-and-pix2pix: instance norms without weights, transposed convolutions of 3x3."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), conv(channels, 64, 7), nn.InstanceNorm2d(64), nn.ReLU()]
    for width in (64, 128):
        layers += [conv(width, 2 * width), nn.InstanceNorm2d(2 * width), nn.ReLU()]
    for _ in range(6):
        pads = (nn.ReflectionPad2d(1), conv(256, 256), nn.InstanceNorm2d(256))
        layers.append(tree(conv_block=nn.Sequential(*pads, nn.ReLU(), *pads[:1], conv(256, 256))))
    for width in (256, 128):
        layers += [up(width, width // 2, 3), nn.InstanceNorm2d(width // 2), nn.ReLU()]
    return tree(model=nn.Sequential(*layers, nn.ReflectionPad2d(3), conv(64, 3, 7), nn.Tanh()))


def pix2pix(channels: int) -> nn.Module:
    """The U-Net of the same repository: nested blocks of a 4x4 convolution down and one up, with batch norms."""
    inner = nn.Sequential(nn.ReLU(), conv(512, 512, 4, bias=False), nn.ReLU(), up(512, 512, 4, bias=False), norm(512))
    for width in (256, 128, 64):
        ends = nn.ReLU(), conv(width, 2 * width, 4, bias=False), norm(2 * width)
        rest = nn.ReLU(), up(4 * width, width, 4, bias=False), norm(width)
        inner = nn.Sequential(*ends, tree(model=inner), *rest)
    outer = nn.Sequential(conv(channels, 64, 4, bias=False), tree(model=inner), nn.ReLU(), up(128, 3, 4), nn.Tanh())
    return tree(model=tree(model=outer))


def fcn8s(channels: int) -> nn.Module:
    """wkentaro/pytorch-fcn: VGG, 1x1 scores, bilinear transposed convolutions without biases."""
    parts: Parts = {}
    inputs = channels
    for stage, (width, count) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        for number in range(1, count + 1):
            parts[f"conv{stage}_{number}"] = conv(inputs, width)
            inputs = width
    parts |= {"fc6": conv(512, 4096, 7), "fc7": conv(4096, 4096, 1), "score_fr": conv(4096, 21, 1)}
    parts |= {"score_pool3": conv(256, 21, 1), "score_pool4": conv(512, 21, 1)}
    sizes = {"upscore2": 4, "upscore8": 16, "upscore_pool4": 4}
    return tree(**parts, **{name: up(21, 21, side, bias=False) for name, side in sizes.items()})


def flownet(channels: int) -> nn.Module:
    """ClementPinard/FlowNetPytorch: `deconv5.0` with and `upsampled_flow6_to_5` without a bias."""
    parts: Parts = {"conv1": nn.Sequential(conv(2 * channels, 64, 7, bias=False), norm(64))}
    for number, (inputs, outputs) in enumerate([(64, 128), (128, 256), (256, 512), (512, 512), (512, 1024)], 2):
        parts[f"conv{number}"] = nn.Sequential(conv(inputs, outputs, bias=False), norm(outputs))
    for number, (inputs, outputs) in zip((5, 4, 3, 2), [(1024, 512), (1026, 256), (770, 128), (386, 64)], strict=True):
        parts[f"deconv{number}"] = nn.Sequential(up(inputs, outputs, 4, bias=False), nn.LeakyReLU(0.1))
    for number, inputs in zip((6, 5, 4, 3), (1024, 1026, 770, 386), strict=True):
        parts[f"predict_flow{number}"] = conv(inputs, 2, bias=False)
    for number in (6, 5, 4, 3):
        parts[f"upsampled_flow{number}_to_{number - 1}"] = up(2, 2, 4, bias=False)
    return tree(**parts)


def mobilenet(channels: int) -> nn.Module:
    """A MobileNet 1 as one Sequential, `model.1.0`, `model.1.3`."""
    layers: list[nn.Module] = [nn.Sequential(conv(channels, 32, bias=False), norm(32))]
    for inputs, outputs in [(32, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]:
        deep = conv(inputs, inputs, bias=False, groups=inputs)
        layers.append(nn.Sequential(deep, norm(inputs), nn.ReLU(), conv(inputs, outputs, 1, bias=False), norm(outputs)))
    return tree(model=nn.Sequential(*layers), fc=nn.Linear(512, 10))


def restormer(channels: int) -> nn.Module:
    """swz30/Restormer: no biases, depthwise convolutions inside attention and gates."""
    parts: Parts = {"patch_embed__proj": conv(channels, 48, bias=False)}
    for level, width in enumerate((48, 96), 1):
        for number in range(2):
            owner = f"encoder_level{level}__{number}"
            hidden = int(width * 2.66)
            parts[f"{owner}__norm1__body"] = nn.LayerNorm(width)
            parts[f"{owner}__attn__qkv"] = conv(width, 3 * width, 1, bias=False)
            parts[f"{owner}__attn__qkv_dwconv"] = conv(3 * width, 3 * width, bias=False, groups=3 * width)
            parts[f"{owner}__attn__project_out"] = conv(width, width, 1, bias=False)
            parts[f"{owner}__norm2__body"] = nn.LayerNorm(width)
            parts[f"{owner}__ffn__project_in"] = conv(width, 2 * hidden, 1, bias=False)
            parts[f"{owner}__ffn__dwconv"] = conv(2 * hidden, 2 * hidden, bias=False, groups=2 * hidden)
            parts[f"{owner}__ffn__project_out"] = conv(hidden, width, 1, bias=False)
        if level == 1:
            parts["down1_2__body"] = nn.Sequential(conv(48, 24, bias=False), nn.PixelUnshuffle(2))
    return tree(**parts, output=conv(96, channels, bias=False))


def hifigan(channels: int) -> nn.Module:
    """jik876/hifi-gan without weight norm: transposed convolutions over time, `ups.0`."""
    parts: Parts = {"conv_pre": conv(80 * channels, 512, 7, sides=1)}
    sides = [(512, 16), (256, 16), (128, 4), (64, 4)]
    ups = nn.ModuleList([up(width, width // 2, side, sides=1) for width, side in sides])
    blocks = [
        tree(convs1=nn.ModuleList([conv(width // 2, width // 2, side, sides=1) for _ in range(3)]))
        for width, _ in sides
        for side in (3, 7, 11)
    ]
    return tree(**parts, ups=ups, resblocks=nn.ModuleList(blocks), conv_post=conv(32, 1, 7, sides=1))


def demucs(channels: int) -> nn.Module:
    """facebookresearch/demucs: convolutions of 8 with a stride of 4 over time, and their transposed ones."""
    widths = [channels, 64, 128, 256, 512]
    pairs = list(pairwise(widths))
    down = [nn.Sequential(conv(a, b, 8, sides=1), nn.ReLU(), conv(b, 2 * b, 1, sides=1), nn.GLU(1)) for a, b in pairs]
    ups = [
        nn.Sequential(conv(b, 2 * b, 3, sides=1), nn.GLU(1), up(b, a, 8, sides=1), nn.ReLU()) for a, b in pairs[::-1]
    ]
    return tree(encoder=nn.ModuleList(down), decoder=nn.ModuleList(ups))


def pointnet(channels: int) -> nn.Module:
    """fxia22/pointnet.pytorch: convolutions of length 1 over points."""
    stn = tree(conv1=conv(channels, 64, 1, sides=1), conv2=conv(64, 128, 1, sides=1), fc1=nn.Linear(128, 9))
    return tree(stn=stn, conv1=conv(channels, 64, 1, sides=1), conv2=conv(64, 128, 1, sides=1), fc=nn.Linear(128, 40))


def vae(channels: int) -> nn.Module:
    """AntixK/PyTorch-VAE: `decoder.0.0` is transposed, 3x3, with a batch norm."""
    widths = [channels, 32, 64, 128, 256, 512]
    pairs = list(pairwise(widths))
    down = [nn.Sequential(conv(a, b), norm(b), nn.LeakyReLU()) for a, b in pairs]
    ups = [nn.Sequential(up(b, a, 3), norm(a), nn.LeakyReLU()) for a, b in pairs[:0:-1]]
    final = nn.Sequential(up(32, 32, 3), norm(32), nn.LeakyReLU(), conv(32, 3))
    ends = {"fc_mu": nn.Linear(2048, 128), "decoder_input": nn.Linear(128, 2048)}
    return tree(encoder=nn.Sequential(*down), **ends, decoder=nn.Sequential(*ups), final_layer=final)


def lenet_family(channels: int) -> nn.Module:
    """A LeNet with features and a classifier."""
    return tree(
        features=nn.Sequential(conv(channels, 6, 5), nn.ReLU(), conv(6, 16, 5), nn.ReLU(), conv(16, 120, 5)),
        classifier=nn.Sequential(nn.Linear(120, 84), nn.Linear(84, 10)),
    )


def medical_resnet(channels: int) -> nn.Module:
    """Tencent/MedicalNet: a 3-D ResNet with a transposed head, `conv_seg.0`."""
    parts: Parts = {"module__conv1": conv(channels, 64, 7, sides=3, bias=False), "module__bn1": nn.BatchNorm3d(64)}
    inputs = 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        owner = f"module__layer{stage}__0"
        for number, (a, b) in enumerate([(inputs, width), (width, width)], 1):
            parts[f"{owner}__conv{number}"] = conv(a, b, sides=3, bias=False)
            parts[f"{owner}__bn{number}"] = nn.BatchNorm3d(b)
        if inputs != width:
            parts[f"{owner}__downsample"] = nn.Sequential(
                conv(inputs, width, 1, sides=3, bias=False), nn.BatchNorm3d(width)
            )
        inputs = width
    head = nn.Sequential(up(512, 32, sides=3), nn.BatchNorm3d(32), nn.ReLU(), conv(32, 32, sides=3, bias=False))
    return tree(**parts, module__conv_seg=head)


_BUILDS = [brain_segmentation, unet_milesial, unet_plain, yolov5, yolov8, dcgan, cyclegan, pix2pix, fcn8s, flownet]
_BUILDS += [mobilenet, restormer, hifigan, demucs, pointnet, vae, lenet_family, medical_resnet]


def hand_written() -> Iterator[tuple[str, int, Build]]:
    """(name, input channels, builder): each network with 3, 1 and 4 input channels."""
    for build in _BUILDS:
        for channels in (3, 1, 4):
            yield build.__name__, channels, partial(build, channels)
