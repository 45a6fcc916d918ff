"""`ann2snn completion`: a script for bash, which zsh reads too, generated from the parser."""

import argparse
from collections.abc import Iterable

from ann2snn.cli.parser import parser
from ann2snn.conversion.neurons import RESETS
from ann2snn.data.augmentations import AUGMENTATIONS
from ann2snn.data.registry import names
from ann2snn.methods.registry import discover
from ann2snn.networks import registry as networks_registry
from ann2snn.training.recipes import RECIPES

SCRIPT = """\
# {shell} completion of ann2snn, made by `ann2snn completion {shell}`
{before}_ann2snn() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} option= i words=
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W "{commands}" -- "$word"))
        return
    fi
    for ((i = COMP_CWORD - 1; i > 1; i--)); do
        if [[ ${{COMP_WORDS[i]}} == --* ]]; then option=${{COMP_WORDS[i]}}; break; fi
    done
    case "$command $option" in
{values}
    esac
    if [[ $word == -* ]]; then
        case $command in
{options}
        esac
    elif [[ -z $words ]]; then
        case $command in
{positionals}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _ann2snn ann2snn
"""
ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


def script(shell: str) -> str:
    """For "bash" or "zsh": commands, options, choices, and the names of methods, datasets, networks and recipes."""
    names_by_option = {
        "--method": sorted(discover()),
        "--dataset": names(),
        "--network": networks_registry.names(),
        "--recipe": sorted(RECIPES),
        "--reset": sorted(RESETS),
        "--calibration-transform": sorted(AUGMENTATIONS),
    }
    commands = _commands()
    options, values, positionals = [], [], []
    for name, command in commands.items():
        flags = []
        for action in command._actions:
            if not action.option_strings:
                if action.choices:
                    positionals.append(_case(name, action.choices))
                continue
            flags += action.option_strings
            if choices := action.choices or names_by_option.get(action.option_strings[-1]):
                values.append(_case(f'"{name} {action.option_strings[-1]}"', choices))
        options.append(_case(name, flags))
    return SCRIPT.format(
        shell=shell,
        before=ZSH if shell == "zsh" else "",
        commands=" ".join(commands),
        values="\n".join(values),
        options="\n".join(options),
        positionals="\n".join(positionals),
    )


def _commands() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(commands.choices)


def _case(pattern: str, words: Iterable[str]) -> str:
    return f'        {pattern}) words="{" ".join(words)}" ;;'
