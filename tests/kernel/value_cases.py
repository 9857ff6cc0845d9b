"""What a file or a script can say to a check, and the weight that keepalived 2.2.7 gives the real server for it; None: it is taken out.

Each case is one real server of weight 10 with one FILE_CHECK or MISC_CHECK, without inhibit_on_failure, so that weight 0 and removal
are two things. Sources: keepalived.md, section 3.6, and the real keepalived.
"""

from __future__ import annotations

from dataclasses import dataclass

WEIGHT_MAX = 65535
"""The greatest that we write into the kernel."""


@dataclass(frozen=True, slots=True)
class FileCase:
    """A track_file block with `lines`, its file with `text` (None: no file), and a FILE_CHECK with `check`.

    `begins` is what stands in the file after the start, where init_file wrote it. `ours` is our weight where it is not `weight`.
    """

    name: str
    text: str | None
    weight: int | None
    lines: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    begins: str | None = None
    ours: int | None = None

    def __str__(self) -> str:
        return f"FILE_CHECK {self.name}"

    @property
    def our_weight(self) -> int | None:
        """The weight that the case has with us."""
        return self.weight if self.ours is None else self.ours


FILE_CASES: tuple[FileCase, ...] = (
    FileCase("a number", "5", 15),
    FileCase("a number and more", "5 junk", 15),
    FileCase("nothing", "", 10),
    FileCase("no file", None, 10),
    FileCase("text", "text", 10),
    FileCase("text before a number", "text\n5", 10),
    FileCase("negative", "-3", 7),
    FileCase("negative beyond the weight", "-30", 0),
    FileCase("with a sign", "+5", 15),
    FileCase("blanks before", " 5", 15),
    FileCase("blank lines before", " \n\t5", 15),
    FileCase("two lines", "5\n7\n", 15),
    FileCase("a fraction", "1.9", 11),
    FileCase("hexadecimal", "0x10", 26),
    FileCase("octal", "010", 18),
    FileCase("not quite octal", "08", 10),
    FileCase("a NUL behind", "5\0", 15),
    FileCase("more than 32 bits", "99999999999", 10),
    FileCase("less than 32 bits", "-2147483649", 10),
    FileCase("the least", "-2147483648", None),
    FileCase("times a weight", "5", 20, ("weight 2",)),
    FileCase("times a negative weight", "3", 4, ("weight -2",)),
    FileCase("negative times negative", "-3", 16, ("weight -2",)),
    FileCase("reverse", "5", 5, ("weight 1 reverse",)),
    FileCase("reverse as low as a fault", "2147483647", None, ("weight -2",)),
    FileCase("switch that is 0", "0", 10, ("weight 0",)),
    FileCase("switch that is 1", "1", None, ("weight 0",)),
    FileCase("switch that is negative", "-1", None, ("weight 0",)),
    FileCase("switch with text", "text", 10, ("weight 0",)),
    FileCase("weight of the check", "5", 20, ("weight 1",), ("weight 2",)),
    FileCase("weight of the check, file reverse", "5", 20, ("weight 3 reverse",), ("weight 2",)),
    FileCase("check reverse", "5", 0, ("weight 3",), ("weight 2 reverse",)),
    FileCase("check noreverse, file reverse", "5", 20, ("weight 3 reverse",), ("weight 2 noreverse",)),
    FileCase("check makes it a switch", "5", None, ("weight 3",), ("weight 0",)),
    FileCase("init_file", None, 10, ("init_file",), begins="0\n"),
    FileCase("init_file with a value", None, 15, ("init_file 5",), begins="5\n"),
    FileCase("init_file over a value", "9", 19, ("init_file 5",)),
    FileCase("init_file over nothing", "", 10, ("init_file 5",)),
    FileCase("init_file that overwrites", "9", 15, ("init_file 5 overwrite",), begins="5\n"),
    FileCase("init_file that overwrites with 0", "9", 10, ("init_file overwrite",), begins="0\n"),
    FileCase("init_file below 0", None, 3, ("init_file -7 overwrite",), begins="-7\n"),
    FileCase("weight above ours", "70000", 70010, ours=WEIGHT_MAX),
    FileCase("product of more than 32 bits", "2147483647", 8, ("weight 2",), ours=WEIGHT_MAX),
    FileCase("product of more than 32 bits, again", "600000000", 2076144650, ("weight 254",), ours=WEIGHT_MAX),
)
"""Those with a weight of ours of their own are the deliberate difference file-weights-are-bounded."""


@dataclass(frozen=True, slots=True)
class ScriptCase:
    """A MISC_CHECK whose script has this shell text and mode (0: there is none); `arguments` stand behind its path in misc_path.

    keepalived gives up a check whose script it cannot run, and the server is up for good; with us it is `down_with_us`: the deliberate
    difference misc-script-that-cannot-run-fails.
    """

    name: str
    text: str
    weight: int | None
    lines: tuple[str, ...] = ()
    arguments: str = ""
    mode: int = 0o755
    down_with_us: bool = False

    def __str__(self) -> str:
        return f"MISC_CHECK {self.name}"

    @property
    def our_weight(self) -> int | None:
        """The weight that the case has with us."""
        return None if self.down_with_us else self.weight


def _exits(status: int, weight: int | None, *lines: str) -> ScriptCase:
    return ScriptCase(
        f"exits with {status}{' and ' if lines else ''}{' '.join(lines)}", f"exit {status}", weight, lines
    )


_WEIGHTS = {0: 10, 1: None, 2: 0, 3: 1, 12: 10, 52: 50, 255: 253}

SCRIPT_CASES: tuple[ScriptCase, ...] = (
    *(_exits(status, 10 if status == 0 else None) for status in _WEIGHTS),
    *(_exits(status, weight, "misc_dynamic") for status, weight in _WEIGHTS.items()),
    ScriptCase("takes too long", "exec sleep 30", None, ("misc_timeout 1",)),
    ScriptCase(
        "takes too long and will not be ended", "trap '' TERM; while :; do sleep 1; done", None, ("misc_timeout 1",)
    ),
    ScriptCase("is not there", "", 10, mode=0, down_with_us=True),
    ScriptCase("is not executable", "exit 0", 10, mode=0o644, down_with_us=True),
    ScriptCase("ends by a signal", "kill -KILL $$", None),
    ScriptCase("closes everything", "exec 0<&- 1>&- 2>&-; exit 0", 10),
    ScriptCase(
        "quoted arguments",
        """[ $# = 3 ] && [ "$1" = 'a b' ] && [ "$2" = 'c d' ] && [ "$3" = e ]""",
        10,
        (),
        r"'a b' \"c d\" e",
    ),
)
