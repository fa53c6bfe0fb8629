"""The architectures that detection and segmentation can run. Named, not looked up: that would load torch."""

# Those with four stages whose strides lie where `worker.backbone` looks for them.
RESNETS = ("resnet50", "resnet50w2", "resnet50w4", "resnet101", "resnet34", "resnet18", "resnet10_narrow")
