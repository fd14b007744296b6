"""The script for each shell. Nothing in it runs elaunch: completing costs nothing."""

from collections.abc import Iterator, Sequence
from shlex import quote

from elaunch.cli.completion.facts import Facts, Flag


_BASH = """\
# bash completion for elaunch: source <(elaunch completion bash)
_elaunch_flags() {{ # command: sets flags, valued and choices
    flags="" valued="" choices=""
    case $1 in
{cases}
    esac
}}
_elaunch() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} command=run at=1
    local flags valued choices word before=""
    COMPREPLY=()
    if [[ ${{COMP_WORDS[0]##*/}} != erun ]]; then
        if ((COMP_CWORD == 1)); then
            COMPREPLY=($(compgen -W "{commands} --help --version" -- "$cur"))
            return
        fi
        command=${{COMP_WORDS[1]}} at=2
    fi
    _elaunch_flags "$command"
    # What follows the script is the script's: files, by the shell's own completion.
    for ((; at < COMP_CWORD; at++)); do
        word=${{COMP_WORDS[at]}}
        if [[ $word == "=" ]]; then
            continue
        elif [[ $before ]]; then
            before=""
        elif [[ " $valued " == *" $word "* ]]; then
            before=$word
        elif [[ $word != -* ]]; then
            return
        fi
    done
    if [[ $before ]]; then
        [[ $cur == "=" ]] && cur=""
        if [[ $choices =~ (^|;)"$before "([^;]*) ]]; then
            COMPREPLY=($(compgen -W "${{BASH_REMATCH[2]}}" -- "$cur"))
        fi
    elif [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    elif [[ $choices =~ (^|;)"word "([^;]*) ]]; then
        COMPREPLY=($(compgen -W "${{BASH_REMATCH[2]}}" -- "$cur"))
    fi
}}
complete -o default -F _elaunch elaunch erun"""


def bash(facts: Facts) -> str:
    """Return the script for bash, 3.2 or newer."""
    cases = "\n".join(_bash_case(facts, name) for name in facts.flags)
    return _BASH.format(cases=cases, commands=" ".join(facts.commands))


def _bash_case(facts: Facts, command: str) -> str:
    flags = facts.flags[command]
    chosen = [(f, s) for f in flags for s in f.spellings if f.choices]
    choices = [f"{spelling} {' '.join(flag.choices)}" for flag, spelling in chosen]
    if command in facts.words:
        choices.append(f"word {' '.join(facts.words[command])}")
    return (
        f"    {command})\n"
        f'        flags="{" ".join(_spellings(flags))}"\n'
        f'        valued="{" ".join(_spellings([f for f in flags if f.value]))}"\n'
        f'        choices="{";".join(choices)}"\n'
        f"        ;;"
    )


def _spellings(flags: Sequence[Flag]) -> Iterator[str]:
    return (spelling for flag in flags for spelling in flag.spellings)


_ZSH = """\
#compdef elaunch erun
# zsh completion for elaunch: source <(elaunch completion zsh)
_elaunch_of() {{ # command
    local -a flags
    case $1 in
{cases}
    *)
        _files
        return
        ;;
    esac
    _arguments -S $flags
}}
_elaunch() {{
    if [[ $service == erun ]]; then
        _elaunch_of run
    elif ((CURRENT == 2)); then
        local -a commands
        commands=({commands})
        _describe command commands
    else
        local command=$words[2]
        shift words
        ((CURRENT--))
        _elaunch_of $command
    fi
}}
compdef _elaunch elaunch erun"""


def zsh(facts: Facts) -> str:
    """Return the script for zsh."""
    cases = "\n".join(_zsh_case(facts, name) for name in facts.flags)
    commands = " ".join(
        quote(f"{name}:{text}") for name, text in facts.commands.items()
    )
    return _ZSH.format(cases=cases, commands=commands)


def _zsh_case(facts: Facts, command: str) -> str:
    specs = [
        _zsh_flag(flag, s) for flag in facts.flags[command] for s in flag.spellings
    ]
    if command in facts.words:
        specs.append(f"'1:word:({' '.join(facts.words[command])})'")
    else:
        specs += ["'1:script:_files'", "'*::arguments:_files'"]
    lines = "\n".join(f"            {spec}" for spec in specs)
    return f"    {command})\n        flags=(\n{lines}\n        )\n        ;;"


def _zsh_flag(flag: Flag, spelling: str) -> str:
    spec = f"*{spelling}[{flag.summary}]"
    if flag.choices:
        spec += f":{_zsh_name(flag)}:({' '.join(flag.choices)})"
    elif flag.value:
        spec += f":{_zsh_name(flag)}:{'_files' if flag.is_file else ' '}"
    return quote(spec)


def _zsh_name(flag: Flag) -> str:
    return flag.value.replace(":", "\\:")


def fish(facts: Facts) -> str:
    """Return the script for fish."""
    lines = ["# fish completion for elaunch: elaunch completion fish | source"]
    for name, text in facts.commands.items():
        lines.append(
            f"complete -c elaunch -n __fish_use_subcommand -fa {name} -d {quote(text)}"
        )
    for command, flags in facts.flags.items():
        seen = f"-c elaunch -n '__fish_seen_subcommand_from {command}'"
        for program in (seen, *(("-c erun",) if command == "run" else ())):
            lines += [f"complete {program} {_fish_flag(flag)}" for flag in flags]
        if command in facts.words:
            lines.append(f"complete {seen} -fa '{' '.join(facts.words[command])}'")
    return "\n".join(lines)


def _fish_flag(flag: Flag) -> str:
    words = [
        f"-l {s[2:]}" if s.startswith("--") else f"-s {s[1:]}" for s in flag.spellings
    ]
    if flag.choices:
        words.append(f"-xa '{' '.join(flag.choices)}'")
    elif flag.value:
        words.append("-r" if flag.is_file else "-x")
    return f"{' '.join(words)} -d {quote(flag.summary)}"
