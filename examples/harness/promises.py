"""What an example promises, and whether it holds.

    promises = Promises("tradebot")
    promises.hold("the spot list is never empty", len(symbols) > 0, f"{len(symbols)} symbols")
    sys.exit(promises.end())
"""


class Promises:
    """Counts the promises that held."""

    def __init__(self, name):
        self.name, self.held, self.broken = name, 0, []

    def hold(self, words, holds, seen=""):
        """Notes one promise: its words, whether it holds (a value, or something to call), and what was seen. Gives back
        whether it held; what it raises counts as broken, and the run goes on."""
        try:
            holds = holds() if callable(holds) else holds
        except Exception as error:  # noqa: BLE001 - whatever it is, the promise is broken and the others are still to be seen
            holds, seen = False, f"{type(error).__name__}: {error}"
        if holds:
            self.held += 1
            print(f"  held    {words}", flush=True)
        else:
            self.broken.append(words)
            print(f"  BROKEN  {words}{f': {seen}' if seen else ''}", flush=True)
        return bool(holds)

    def end(self):
        """Prints how many held, and gives back the exit code."""
        print(f"\n{self.name}: {self.held} of {self.held + len(self.broken)} promises held", flush=True)
        for words in self.broken:
            print(f"  broken: {words}")
        return 1 if self.broken or not self.held else 0
