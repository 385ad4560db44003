"""Where a case takes its choices from: a seeded generator, or the bytes that a coverage-guided fuzzer tries."""

import random
import struct


class Choices:
    """Choices that make up one case; subclasses say where the numbers come from."""

    def integer(self, low, high):
        """A whole number, both limits included."""
        raise NotImplementedError

    def blob(self, longest):
        """Bytes of any value."""
        raise NotImplementedError

    def chance(self, one_in):
        """True once in so many times."""
        return self.integer(1, one_in) == 1

    def pick(self, items):
        """One of a sequence."""
        return items[self.integer(0, len(items) - 1)]

    def real(self):
        """A number with a fraction: of usual size, tiny, huge, infinite, not a number."""
        if self.chance(2):
            return self.integer(-100_000, 100_000) / self.pick((1, 10, 64, 1000))
        return struct.unpack(">d", self.blob(8).ljust(8, b"\x00"))[0]

    def text(self, longest=40):
        """Characters of all planes that UTF-8 can hold, mostly ASCII."""
        characters = []
        for _ in range(self.integer(0, longest)):
            top = self.pick((0x7E, 0x7E, 0x7E, 0xFF, 0x2FF, 0xD7FF, 0x10FFFF))
            code = self.integer(32 if top == 0x7E else 1, top)
            characters.append(" " if 0xD800 <= code <= 0xDFFF else chr(code))
        return "".join(characters)


class RandomChoices(Choices):
    """Choices of a seeded generator."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def integer(self, low, high):
        return self._random.randint(low, high)

    def blob(self, longest):
        return self._random.randbytes(self.integer(0, longest))


class DrawnChoices(Choices):
    """Choices that hypothesis draws, and makes smaller where a case fails."""

    def __init__(self, data):
        from hypothesis import strategies

        self._data, self._strategies = data, strategies

    def integer(self, low, high):
        return self._data.draw(self._strategies.integers(low, high))

    def blob(self, longest):
        return self._data.draw(self._strategies.binary(max_size=min(longest, 500)))

    def text(self, longest=40):
        return self._data.draw(self._strategies.text(max_size=longest))

    def real(self):
        return self._data.draw(self._strategies.floats())


class GuidedChoices(Choices):
    """Choices of the bytes that a coverage-guided fuzzer gives."""

    def __init__(self, provider):
        self._provider = provider

    def integer(self, low, high):
        return self._provider.ConsumeIntInRange(low, high)

    def blob(self, longest):
        return self._provider.ConsumeBytes(self.integer(0, longest))
