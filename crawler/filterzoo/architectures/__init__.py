"""What a trusted architecture tells about the convolutions of a state dict."""
