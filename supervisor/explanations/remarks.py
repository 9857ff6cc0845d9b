"""The pages of all warnings and notes: what is accepted, and worth a look. Data alone (`explanations.page`)."""

from __future__ import annotations

from collections.abc import Mapping

from supervisor.explanations.page import Page

VS, RS, TCP, HTTP = "virtual_server", "real_server", "TCP_CHECK", "HTTP_GET"

_LOUDLY = (
    "The file is accepted, because what is missing may come later or be there on the director alone; until then each run"
    " fails, loudly."
)

REMARKS: Mapping[str, Page] = {
    "W101": Page(
        "not handled",
        "keepalived knows this keyword, and this version of Vipervisor reads it without acting on it.",
        "One file can so serve both programs; whoever counts on the keyword should know that nothing comes of it here.",
        "Leave it for keepalived, or remove it. docs/from-keepalived.md lists what is handled.",
        "vrrp_instance V {\n  priority 100\n}",
        "",
    ),
    "W102": Page(
        "repeated",
        "A keyword stands twice in a block where one of them counts.",
        "The last one counts, as with keepalived; the first is probably a leftover.",
        "Remove one of them.",
        "delay_loop 5\ndelay_loop 6",
        "delay_loop 6",
        VS,
    ),
    "W103": Page(
        "corrected",
        "A value was taken for another, as keepalived does, because the one that was written cannot be.",
        "What runs is not word for word what is written.",
        "Write the value that was taken.",
        f"{VS} 10.0.0.1 0 {{\n  lb_algo rr\n  lb_kind NAT\n  real_server 10.0.0.2 0 {{\n  }}\n}}",
        "",
    ),
    "W104": Page(
        "default taken",
        "Something that is nearly always written is missing, and its default holds.",
        "Protocol, scheduler and forwarding method are rarely left to chance on purpose; without protocol it is UDP.",
        "Write it down.",
        f"{VS} 10.0.0.1 80 {{\n  lb_algo wlc\n  lb_kind NAT\n  real_server 10.0.0.2 80 {{\n  }}\n}}",
        f"{VS} 10.0.0.1 80 {{\n  lb_algo wlc\n  lb_kind NAT\n  protocol TCP\n  real_server 10.0.0.2 80 {{\n  }}\n}}",
    ),
    "W105": Page(
        "no effect",
        "The keyword is allowed here and has no effect.",
        "Whoever wrote it expects one.",
        "Remove it, or add what it needs.",
        "path /\nregex_no_match",
        "path /\nregex error\nregex_no_match",
        "url",
    ),
    "W106": Page(
        "undefined",
        "A name that begins with $ is used and defined nowhere.",
        "It stays as it is typed, as with keepalived, and that is rarely what was meant.",
        "Define it above: $NAME=VALUE.",
        "path /$NOWHERE",
        "path /somewhere",
        "url",
    ),
    "W107": Page(
        "nothing included",
        "An include matches no file, or one that may be missing is.",
        "A folder for drop-ins may be empty; a slip in its name looks the same.",
        "Correct the pattern if something should be there.",
        "include /nonexistent/*.conf",
        "",
    ),
    "W108": Page(
        "risky",
        "The values are allowed, and the kernel or the network will probably refuse them or behave oddly.",
        "It would be noticed only when it runs.",
        "Do as the message says.",
        "persistence_engine pip",
        "persistence_engine sip",
        VS,
    ),
    "W109": Page(
        "ignored",
        "With --lenient: a mistake that keepalived ignores is ignored here, too.",
        "It helps to move a large file over; what is ignored is said each time.",
        "Correct it: without --lenient it is an error.",
    ),
    "W115": Page(
        "unusable file",
        "A file with certificates or a key cannot be used: it cannot be read, or the key does not fit.",
        "The configuration is accepted, but every probe that needs the file fails and says why: a check that asks for less than was"
        " wanted would be a lie.",
        "Correct the name, the rights, or what is in the file.",
    ),
    "W120": Page(
        "script missing",
        "A script that the configuration names is not there.",
        _LOUDLY,
        "Install it, or correct its path.",
        "MISC_CHECK {\n  misc_path /nonexistent/check\n}",
        "",
        RS,
    ),
    "W121": Page(
        "script not executable",
        "A script is there and cannot be run: no right to it, or no program.",
        _LOUDLY,
        "chmod +x, and a first line such as #!/bin/sh.",
        "MISC_CHECK {\n  misc_path /etc/passwd\n}",
        "MISC_CHECK {\n  misc_path /bin/true\n}",
        RS,
    ),
    "W122": Page(
        "script by name",
        "A script is named without its path.",
        "It is looked for in PATH at each run, which may find another one tomorrow.",
        "Write the whole path.",
        "MISC_CHECK {\n  misc_path true\n}",
        "MISC_CHECK {\n  misc_path /bin/true\n}",
        RS,
    ),
    "W123": Page(
        "no such account",
        "There is no such user or group on this machine.",
        _LOUDLY,
        "Create the account, or name another.",
        "MISC_CHECK {\n  misc_path /bin/true\n  user nobody-of-that-name\n}",
        "MISC_CHECK {\n  misc_path /bin/true\n}",
        RS,
    ),
    "W124": Page(
        "script changeable",
        "With enable_script_security: somebody who is not root can change this script, or a folder above it.",
        "Whoever can change what root runs is root; such a script is not run as root.",
        "chown root and chmod go-w the script and every folder above it.",
    ),
    "W125": Page(
        "not a fifo",
        "A named pipe shall be at a path where something else is.",
        "It is left alone, and nobody is told anything there.",
        "Name another path, or remove what is there.",
    ),
    "N201": Page(
        "old spelling",
        "An older spelling of a keyword, which works.",
        "keepalived may drop it one day.",
        "Write the present one.",
        "HTTP_GET {\n  nb_get_retry 3\n  url {\n    path /\n  }\n}",
        "HTTP_GET {\n  retry 3\n  url {\n    path /\n  }\n}",
        RS,
    ),
    "N202": Page(
        "implied",
        "What is written means something else, too, as with keepalived.",
        "Good to know, and nothing to do.",
        "Nothing, or write it down to be clear.",
        "persistence_granularity 255.255.255.0",
        "persistence_timeout 60\npersistence_granularity 255.255.255.0",
        VS,
    ),
    "N210": Page(
        "unseen",
        "Whoever checks the configuration may not look at a script, so nothing is known about it.",
        "The daemon may have the right.",
        "Check as the user that the daemon runs as to know more.",
    ),
    "N211": Page(
        "as root",
        "A script runs as root, though without root's capabilities.",
        "Root's files are open to it; network settings are not.",
        "Name another user if it need not read root's files.",
        "MISC_CHECK {\n  misc_path /bin/true\n  user root\n}",
        "MISC_CHECK {\n  misc_path /bin/true\n}",
        RS,
    ),
}
