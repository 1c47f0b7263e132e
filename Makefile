# make demo     run the example on two sites of this machine
# make test     everything: format, lint, types, tests (installs what they need)
# make lint | types | unit     one part of it
# make test-snakemake     all of Snakemake's own test workflows, here, at a site and in containers; goes on where it was
# make clean    remove all that these made

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
EXECUTOR ?= streamflow
JOBS ?= 4
PYTEST_ARGS ?=
SNAKEMAKE := snakemake==9.27.1
EXAMPLE := examples/variant-calling

# Commands that the tests use, and the Debian package of each.
TEST_TOOLS := sshd:openssh-server ssh:openssh-client ssh-keygen:openssh-client dockerd:docker.io busybox:busybox-static \
              ip:iproute2 iptables:iptables ps:procps git:git rsync:rsync nsenter:util-linux mount:mount tar:tar slurmctld:slurm-wlm munged:munge \
              podman:podman runc:runc catatonit:catatonit mpirun:openmpi-bin mpicc:libopenmpi-dev gcc:gcc mpiexec.hydra:mpich \
              Rscript:r-base-core modulecmd:environment-modules

.PHONY: help demo test test-snakemake lint types unit clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' $(firstword $(MAKEFILE_LIST))

# Installs Debian packages when something is missing, and touches neither apt nor the network otherwise.
define apt_install
apt_install() {
    local sudo=()
    if ! command -v apt-get >/dev/null; then
        echo "Please install: $$*" >&2; exit 1
    fi
    if [ "$$(id -u)" != 0 ]; then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            sudo=(sudo -n)
        else
            echo "Missing: $$*. Install with: apt-get install $$*" >&2; exit 1
        fi
    fi
    echo "Installing $$*"
    "$${sudo[@]}" apt-get update -qq
    "$${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$$@" >/dev/null
}
endef

# Finds Python 3.11 or newer that can make a virtual environment, and makes it. PYTHON=... names another one.
define make_venv
$(apt_install)
new_enough() { command -v "$$1" >/dev/null && "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }
makes_venvs() { "$$1" -c 'import ensurepip, venv' 2>/dev/null; }
make_venv() {
    local candidate python=""
    if [ -x $(VENV)/bin/python ] && $(VENV)/bin/python -m pip --version >/dev/null 2>&1; then return; fi
    rm -rf $(VENV)
    for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do
        new_enough "$$candidate" || continue
        python=$${python:-$$candidate}
        if makes_venvs "$$candidate"; then python=$$candidate; break; fi
    done
    if [ -z "$$python" ]; then
        echo "Python 3.11 or newer is needed: install it, or name it with PYTHON=/path/to/python3" >&2; exit 1
    fi
    if ! makes_venvs "$$python"; then
        apt_install "python$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fi
    "$$python" -m venv $(VENV)
    $(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip  # older ones need minutes to resolve
}
# One stamp for each set of packages: pip is asked again only when the files that name them changed.
pip_install() {
    local stamp=$(VENV)/.installed-$$1; shift
    if [ -e "$$stamp" ] && [ ! pyproject.toml -nt "$$stamp" ] && [ ! $(EXAMPLE)/requirements.txt -nt "$$stamp" ]; then
        return
    fi
    $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$$@"
    touch "$$stamp"
}
endef

demo:
	@$(make_venv)
	make_venv
	pip_install demo -e . "$(SNAKEMAKE)" -r $(EXAMPLE)/requirements.txt
	rm -rf .demo
	mkdir .demo
	cp -R $(EXAMPLE)/. .demo
	cd .demo
	rm -rf results .snakemake
	echo "Running $(EXAMPLE) in .demo with --executor $(EXECUTOR)"
	PATH="$(BIN):$$PATH" snakemake --executor $(EXECUTOR) --jobs $(JOBS) --quiet host rules progress
	if [ "$(EXECUTOR)" = streamflow ]; then
	    printf '\nLeft at the sites (a second run needs no transfer of them):\n'
	    for site in "$$PWD"/sites/*; do
	        [ -d "$$site" ] || continue
	        printf '  %-28s %s\n' "$$site" "$$(find "$$site" -path '*/.streamflow' -prune -o -type f -print | wc -l) files"
	    done
	fi
	printf '\nResults:\n'
	printf '  %s\n' "$$PWD/results/variants.tsv" "$$PWD/results/variants.svg"
	printf '\nThe first variants:\n'
	sed -n 1,6p results/variants.tsv | cut -f 1-6 | expand -t 12

# .venv with all that the checks need
define checks_venv
$(make_venv)
make_venv
pip_install test -e '.[test]' -r $(EXAMPLE)/requirements.txt
endef

test:
	@$(MAKE) lint
	$(MAKE) types
	$(MAKE) unit

lint:
	@$(checks_venv)
	echo "ruff"
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types:
	@$(checks_venv)
	echo "mypy"
	$(BIN)/mypy

unit:
	@$(checks_venv)
	missing=()
	for pair in $(TEST_TOOLS); do
	    PATH="$$PATH:/usr/sbin:/sbin" command -v "$${pair%%:*}" >/dev/null || missing+=("$${pair#*:}")
	done
	if [ "$${#missing[@]}" -gt 0 ]; then
	    mapfile -t missing < <(printf '%s\n' "$${missing[@]}" | sort -u)
	    apt_install "$${missing[@]}"
	fi
	if ! command -v apptainer >/dev/null; then  # Debian has it in its newer suites only
	    if apt-cache show apptainer >/dev/null 2>&1; then
	        apt_install apptainer
	    else
	        run=(tests/servers/install-apptainer.sh)
	        [ "$$(id -u)" = 0 ] || run=(sudo -n "$${run[@]}")
	        "$${run[@]}" || echo "NOT TESTED: Apptainer. This machine has no apptainer, and it could not be installed" >&2
	    fi
	fi
	if [ -z "$${KUBECONFIG:-}" ]; then
	    echo "NOT TESTED: Kubernetes, but for its exec protocol. KUBECONFIG names no cluster" >&2
	fi
	PATH="$(BIN):$$PATH:/usr/sbin:/sbin" $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-snakemake:
	@$(checks_venv)
	PATH="$(BIN):$$PATH" $(BIN)/python -m tests.snakemake_workflows.everywhere $(ARGS)

clean:
	@rm -rf $(VENV) .demo .snakemake-tests build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
