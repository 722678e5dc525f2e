"""The pace of a run, from one look to the next. It knows no clock."""


class Pace:
    """Steps and seconds at the last look."""

    def __init__(self, step: int = 0, seconds: float = 0.0) -> None:
        self.step = step
        self.seconds = seconds

    def look(self, step: int, seconds: float) -> float:
        """Steps a second since the last look; 0 if there were none."""
        steps, took = step - self.step, seconds - self.seconds
        self.step, self.seconds = step, seconds
        return steps / max(took, 1e-9)
