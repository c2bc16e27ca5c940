"""A pinhole camera that looks along a street."""

from __future__ import annotations

from dataclasses import dataclass

Point = tuple[float, float]
NEAR = 1.2  # metres; what is nearer lies outside the picture


@dataclass(frozen=True)
class Camera:
    """Projects metres to pixels: X to the right, Y up from the ground, Z along the street.

    Attributes
    ----------
    width, height : int
        Of the picture, in pixels.
    focal : float
        Focal length in pixels.
    vanishing_x, horizon : float
        Where the street's far end lies, in pixels.
    eye : float
        Height of the camera above the ground, in metres.
    """

    width: int
    height: int
    focal: float
    vanishing_x: float
    horizon: float
    eye: float

    def point(self, x: float, y: float, z: float) -> Point:
        """Project one point."""
        scale = self.focal / (z if z > NEAR else NEAR)
        return self.vanishing_x + x * scale, self.horizon + (self.eye - y) * scale

    def scale(self, z: float) -> float:
        """Pixels per metre at a distance."""
        return self.focal / max(z, NEAR)

    def ground(self, corners: list[Point]) -> list[Point]:
        """Project points (X, Z) of the ground."""
        return [self.point(x, 0.0, z) for x, z in corners]
