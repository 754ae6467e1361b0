"""How long something takes, in words."""


def format_duration(seconds: float) -> str:
    """Formats a duration in its two largest units: `1h 02m`, `3m 05s`, `42s`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    if minutes:
        return f"{minutes}m {seconds:02d}s"
    return f"{seconds}s"
