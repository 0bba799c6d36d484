#!/usr/bin/env bash
# Installs the pinned environment of this repository on a node, into ~/env. Safe to repeat.
# usage: setup_node.sh [PACKAGE ...]   more packages for this node, such as boto3 on the head
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The token lets anyone run code on the cluster; file mounts keep the mode that it had at home.
if [ -f ~/.ray/auth_token ]; then chmod 600 ~/.ray/auth_token; fi

# uv brings Python 3.11 to images that have none.
if ! command -v uv >/dev/null && [ ! -x ~/.local/bin/uv ]; then
    PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
fi
PATH=$HOME/.local/bin:$PATH
[ -x ~/env/bin/python ] || uv venv --quiet --python 3.11 ~/env
uv pip install --quiet --python ~/env/bin/python \
    --constraint "$project/cluster/constraints.txt" "${project}[postgres]" "$@"
