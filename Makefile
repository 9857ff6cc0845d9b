# Everything is set up inside this folder and nothing on the machine: .venv has the Python libraries, .lab the Debian programs
# that the machine lacks. Root is not needed. `make PYTHON=...` names another Python (3.11 or newer).

CANDIDATES := python3 python3.11 python3.12 python3.13 python3.14
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(or $(firstword $(foreach python,$(CANDIDATES),$(shell $(python) -c "$(IS_NEW_ENOUGH)" 2>/dev/null && echo $(python)))),python3)
export PYTHON
# what .lab has comes last: a program of the machine's own wins
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin:$(CURDIR)/.lab/root/usr/bin:$(CURDIR)/.lab/root/usr/sbin

RUN := .venv/bin/python -m
SETUP := deploy/demo/setup
BACKEND ?= auto
SOURCES := supervisor checkers tests deploy bench grafana
PROCESSES := tests/process tests/deploy tests/checkers/test_process.py tests/checkers/test_kept_by_nginx.py tests/checkers/test_attacks.py \
  tests/supervisor/runner/test_process.py tests/supervisor/exporter/test_process.py
# programs of Debian's that read what we ship, rsyslogd, what we log, Prometheus, what we serve, a browser, what we show, those
# that the manual has its readers type, and nginx, whom we check
JUDGES := systemd-analyze shellcheck mandoc promtool ansible-playbook logrotate rsyslogd prometheus chromium-headless-shell zsh \
  openssl curl ip lsmod ps nginx

.NOTPARALLEL:
.PHONY: help demo test lint types contracts unit process kernel package deb pictures boards bench traffic observed fuzz sim mutants development clean

help:
	@echo "make demo                   watch a real IPVS kernel lose a web server without losing a request (a minute)"
	@echo "make demo BACKEND=memory    the same story without a kernel (ten seconds)"
	@echo "make test                   everything: lint types contracts unit process kernel (each is a target of its own)"
	@echo "make deb                    the Debian package, into dist"
	@echo "make package                judge that package (lintian), and try it on a clean Debian 12 that boots systemd"
	@echo "make bench                  measure everything beside the peers, and make docs/performance.md of it (half an hour)"
	@echo "make bench QUICK=1          try in five minutes whether all of that works"
	@echo "make pictures               take the pictures of docs/status-page.md"
	@echo "make boards                 play a run with faults and draw docs/boards anew (five minutes)"
	@echo "make traffic                client requests that fail under faults, beside keepalived: TIMES=100 (hours)"
	@echo "make observed               what one sees of a fault, beside keepalived with its exporters: ROUNDS=7 (half an hour)"
	@echo "make fuzz                   look for input that breaks something: SECONDS=60 TARGETS=\"configuration http …\""
	@echo "make sim                    simulate 1,000 hours of faults: SEEDS=150, or SEED=123 again"
	@echo "make mutants                plant bugs that the simulation must notice"
	@echo "make clean                  remove .venv, .lab and caches"

demo:
	@$(SETUP) python
	@deploy/demo/demo $(BACKEND)

test: lint types contracts unit process kernel
	@echo "make test: all passed"

development:
	@$(SETUP) python dev

lint: development
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: development
	$(RUN) mypy --strict $(SOURCES)

contracts: development
	.venv/bin/lint-imports

# units, wires and stories on the virtual clock; in the order of the folders, for files with few tests are the longest, and by itself
# xdist has them last, when one processor has nothing else to do
unit: development
	@$(SETUP) programs promtool || echo "promtool could not be set up: its test will say so"
	$(RUN) pytest tests --ignore=tests/kernel --ignore=tests/package $(addprefix --ignore=,$(PROCESSES)) -n auto --dist loadfile --no-loadscope-reorder

# real processes without a kernel table: stopped, killed, starved, taken over
process: development
	@$(SETUP) programs $(JUDGES) || echo "not all of $(JUDGES) could be set up: their tests will say so"
	$(RUN) pytest $(PROCESSES) -n auto --dist loadfile

# the Debian package, into dist; ARCHITECTURE=arm64 for another machine
deb:
	@$(SETUP) python
	@deploy/deb/build $(ARCHITECTURE)

# the package: what is in it, and on a clean Debian 12 that boots systemd
package: development
	@$(SETUP) programs lintian debootstrap user-mode-linux ip kmod || echo "not all could be set up: the tests will say so"
	@tests/package/run

# a real IPVS table, keepalived beside us
kernel: development
	@$(SETUP) programs linux.uml ip kmod ipvsadm nginx keepalived curl || true
	@tests/kernel/run

# docs/pictures: the status page in a scene with faults
pictures: development
	@$(SETUP) programs chromium-headless-shell
	$(RUN) tests.process.pictures

# docs/performance.md: every benchmark within its limit, half an hour in all; QUICK=1: five minutes, and nothing is published;
# PATIENCE=3: three times as long, where others want the processors, too
QUICK ?=
PATIENCE ?= 1
bench: development
	@$(SETUP) python docs
	@$(SETUP) programs keepalived haproxy nginx ldirectord ipvsadm linux.uml ip kmod curl $(if $(shell command -v gcc cc clang),,tcc) || echo "not all could be set up: the benchmarks will say so"
	$(RUN) bench --patience $(PATIENCE) $(if $(QUICK),--quick,--publish)

# the pictures of docs/boards.md, from a run with faults on a real IPVS kernel
boards:
	@$(SETUP) python dev
	@$(SETUP) python docs
	@$(SETUP) programs linux.uml ip kmod ipvsadm nginx prometheus
	@mkdir -p .lab/boards
	tests/kernel/on-ipvs -t 900 -w $(CURDIR)/.lab/boards -- .venv/bin/python -m grafana.record kernel $(CURDIR)/.lab/boards
	$(RUN) grafana.pictures .lab/boards/run.json docs/boards

# docs/guarantees.md's table of failed requests: every fault so often, beside keepalived; 100 times take hours
TIMES ?= 100
traffic: development
	@$(SETUP) programs linux.uml ip kmod ipvsadm nginx keepalived
	$(RUN) bench.traffic_under_faults --times $(TIMES)

# docs/observed.md: what one sees of a fault and how soon, beside keepalived with its exporters; half an hour
ROUNDS ?= 7
observed: development
	@$(SETUP) programs linux.uml ip kmod ipvsadm nginx keepalived curl prometheus prometheus-node-exporter
	$(RUN) bench.observed --rounds $(ROUNDS)

# every target in turn (tests/fuzz/targets.py); what breaks one stays in tests/fuzz/corpus
SECONDS ?= 60
TARGETS ?= $(notdir $(wildcard tests/fuzz/corpus/*))
fuzz:
	@$(SETUP) python dev,fuzz
	@for target in $(TARGETS); do $(RUN) tests.fuzz.run $$target --seconds $(SECONDS) || exit 1; done

# lives of the whole program on a virtual clock, each with and without the safety nets; make sim SEED=123 plays one again
SEEDS ?= 150
sim: development
	@$(RUN) tests.sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

# planted bugs, each of which the simulation has to notice
mutants: development
	@$(RUN) tests.sim.mutate

clean:
	rm -rf .venv .lab .fuzz dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
