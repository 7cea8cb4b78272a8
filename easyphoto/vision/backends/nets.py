"""Networks whose weights are published for torch, written down from their publications with the published names.

BiSeNet: Yu et al., "BiSeNet: Bilateral Segmentation Network", 2018, over ResNet-18, as trained on CelebAMask-HQ with 19
classes. RRDBNet: Wang et al., "Real-ESRGAN", 2021. RetouchUNet: the mixing-map generator of DAMO's skin retouching
(a U-Net, Ronneberger et al., 2015).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class ConvBNReLU(nn.Module):
    def __init__(self, into: int, out: int, kernel: int = 3, padding: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(into, out, kernel, 1, padding, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """Two convolutions around a shortcut (He et al., 2016)."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or into != out:
            self.downsample = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        inside = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(inside + (x if self.downsample is None else self.downsample(x)))


class Resnet18(nn.Module):
    """Makes features at an eighth, a sixteenth and a thirty-second of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        eighth: Tensor = self.layer2(self.layer1(x))
        sixteenth: Tensor = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class AttentionRefinement(nn.Module):
    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(into, out)
        self.conv_atten = nn.Conv2d(out, out, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.conv(x)
        pooled = F.adaptive_avg_pool2d(features, 1)
        return features * torch.sigmoid(self.bn_atten(self.conv_atten(pooled)))


class ContextPath(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resnet = Resnet18()
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = ConvBNReLU(128, 128)
        self.conv_head16 = ConvBNReLU(128, 128)
        self.conv_avg = ConvBNReLU(512, 128, 1, 0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        eighth, sixteenth, low = self.resnet(x)
        everywhere = self.conv_avg(F.adaptive_avg_pool2d(low, 1))
        from_low = self.arm32(low) + everywhere
        up16 = self.conv_head32(F.interpolate(from_low, sixteenth.shape[2:], mode="nearest"))
        from_sixteenth = self.arm16(sixteenth) + up16
        up8 = self.conv_head16(F.interpolate(from_sixteenth, eighth.shape[2:], mode="nearest"))
        return eighth, up8


class FeatureFusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convblk = ConvBNReLU(256, 256, 1, 0)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        features: Tensor = self.convblk(torch.cat([detail, context], 1))
        attention = torch.sigmoid(self.conv2(F.relu(self.conv1(F.adaptive_avg_pool2d(features, 1)))))
        return features * attention + features


class BiSeNetOutput(nn.Module):
    def __init__(self, into: int, middle: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(into, middle)
        self.conv_out = nn.Conv2d(middle, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.conv_out(self.conv(x))
        return scores


class BiSeNet(nn.Module):
    """Makes scores (n, 19, h, w) of pictures (n, 3, h, w). The two further heads served the training only; their
    weights are here because they are part of the published file."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = FeatureFusion()
        self.conv_out = BiSeNetOutput(256, 256, classes)
        self.conv_out16 = BiSeNetOutput(128, 64, classes)
        self.conv_out32 = BiSeNetOutput(128, 64, classes)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.conv_out(self.ffm(*self.cp(x)))
        return F.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=True)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees all before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, growth, 3, 1, 1)
        self.conv2 = nn.Conv2d(features + growth, growth, 3, 1, 1)
        self.conv3 = nn.Conv2d(features + 2 * growth, growth, 3, 1, 1)
        self.conv4 = nn.Conv2d(features + 3 * growth, growth, 3, 1, 1)
        self.conv5 = nn.Conv2d(features + 4 * growth, features, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, F.leaky_relu(conv(seen), 0.2)], 1)
        inside: Tensor = self.conv5(seen)
        return x + 0.2 * inside


class RRDB(nn.Module):
    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        inside: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return x + 0.2 * inside


class RRDBNet(nn.Module):
    """Makes pictures (n, 3, 2h, 2w) of pictures (n, 3, h, w) in [0, 1], where h and w are even."""

    def __init__(self, features: int = 64, blocks: int = 23, growth: int = 32) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(12, features, 3, 1, 1)
        self.body = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_up1 = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_up2 = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_hr = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(F.pixel_unshuffle(x, 2))
        x = x + self.conv_body(self.body(x))
        for conv in (self.conv_up1, self.conv_up2):
            x = F.leaky_relu(conv(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        large: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))
        return large


class _Twice(nn.Module):
    """Two convolutions with normalisation, under the name that the published weights give them."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(into, out, 3, padding=1),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1),
            nn.BatchNorm2d(out),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class _Named(nn.Module):
    """Holds one module under the name ``conv``."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class _Down(nn.Module):
    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.mpconv = nn.Sequential(nn.MaxPool2d(2), _Twice(into, out))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.mpconv(x)
        return y


class _Up(nn.Module):
    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.conv = _Twice(into, out)

    def forward(self, low: Tensor, beside: Tensor) -> Tensor:
        large = F.interpolate(low, beside.shape[2:], mode="bilinear", align_corners=True)
        y: Tensor = self.conv(torch.cat([beside, large], 1))
        return y


class RetouchUNet(nn.Module):
    """Makes a map in (0, 1) of pictures (n, 3, h, w) in [-1, 1]. A value under a half darkens and one over a half
    lightens. The heads ``dsoutc*`` served the training only; their weights are here because they are part of the
    published file."""

    def __init__(self) -> None:
        super().__init__()
        self.inc = _Named(_Twice(3, 64))
        self.down1, self.down2 = _Down(64, 128), _Down(128, 256)
        self.down3, self.down4 = _Down(256, 512), _Down(512, 512)
        self.up1, self.up2 = _Up(1024, 256), _Up(512, 128)
        self.up3, self.up4 = _Up(256, 64), _Up(128, 64)
        self.outc = _Named(nn.Conv2d(64, 3, 1))
        self.dsoutc4, self.dsoutc3 = _Named(nn.Conv2d(256, 3, 1)), _Named(nn.Conv2d(128, 3, 1))
        self.dsoutc2, self.dsoutc1 = _Named(nn.Conv2d(64, 3, 1)), _Named(nn.Conv2d(64, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        a = self.inc(x)
        b = self.down1(a)
        c = self.down2(b)
        d = self.down3(c)
        y = self.up1(self.down4(d), d)
        y = self.up4(self.up3(self.up2(y, c), b), a)
        return torch.sigmoid(self.outc(y))
