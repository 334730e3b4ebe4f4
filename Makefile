# make            the programs: target/release/tagship and the static hook target/release/update
# make test       format, lints, documentation and all tests
# make fmt        format all sources
# make doc        the crate's documentation: target/doc/tagship/index.html
# make bench      measure lists, a crowd of pushes and the opening of a store, of TASKS=n tasks
# make soak       what takes long: SEEDS=n new random worlds (from FROM=n), KILLS=n kills of a real
#                 agent, random tests with another PROPTEST_RNG_SEED, then `make mutants`
# make mutants    break the code on purpose; the tests must fail (tests/mutations)
# make mutants-pure   break the pure modules in every small way that cargo-mutants knows;
#                 MUTANTS=src/domain/plan.rs takes one file (cargo install --locked cargo-mutants)
# make audit      licences and advisories of the dependencies (cargo install --locked cargo-deny)
# make demo       a git server, an agent and hosts on this machine; AUTO=1 plays it through and ends
# make install    into PREFIX (default /usr/local), below DESTDIR where that is set: programs, systemd unit,
#                 manual pages, and completions of bash, zsh and fish
# make clean      delete what was built
# make help       this list

CARGO  ?= cargo
PREFIX ?= /usr/local
AUTO   ?=
SEEDS  ?= 100000
# Drawn for each soak; a failure names what plays it again.
DRAWN  := $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
FROM   ?= $(DRAWN)
PROPTEST_RNG_SEED ?= $(DRAWN)
KILLS  ?= 500
TASKS  ?= 20000
MUTANTS ?=
# Many tests wait for a host or a clock.
THREADS := $(shell echo $$((2 * $$(nproc))))
SUITES  := $(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs)) \
	$(patsubst hooks/tests/%.rs,%,$(wildcard hooks/tests/*.rs))
WORKSPACE = --locked --workspace
OTHERS    = $(patsubst %,--test %,$(filter-out hosts,$(SUITES)))
# A random world takes a fifth of the time, and tests of hosts count what a slow agent does twice.
OPTIMIZED = --config profile.dev.opt-level=1

# The hook is linked statically: one that can't load on an older system would refuse every push.
TARGET  = $(shell rustc -vV | sed -n 's/^host: //p')
RELEASE = target/release
INTO    = $(DESTDIR)$(PREFIX)

.PHONY: build deps deps-demo deps-test test test-hosts test-others fmt doc bench soak mutants mutants-pure audit demo install clean help

build: deps
	$(CARGO) build --release --locked --bin tagship
	$(CARGO) rustc --release --locked --package tagship-hook --bin update --target $(TARGET) \
		-- -C target-feature=+crt-static
	install -m 0755 target/$(TARGET)/release/update $(RELEASE)/update

# Installs by apt-get what is missing, if it may; else says what to install.
deps:
	@./.ci/deps build

deps-demo:
	@./.ci/deps build demo

deps-test:
	@./.ci/deps build test

test: deps-test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) test $(WORKSPACE) --lib --no-run
	$(CARGO) test $(WORKSPACE) $(OPTIMIZED) --test hosts $(OTHERS) --no-run
	$(MAKE) -j2 test-hosts test-others
	$(MAKE) doc

# Tests of hosts mostly wait for hosts, so the other ones run beside them.
test-hosts:
	RUST_TEST_THREADS=$(THREADS) $(CARGO) test $(WORKSPACE) $(OPTIMIZED) --test hosts

test-others:
	$(CARGO) test $(WORKSPACE) --lib
	$(CARGO) test $(WORKSPACE) $(OPTIMIZED) $(OTHERS)

fmt:
	$(CARGO) fmt --all

# Lints of rustdoc are denied in Cargo.toml.
doc:
	$(CARGO) doc --locked --workspace --no-deps --document-private-items

# Built as for tests, but optimized; docs/performance.md has figures.
bench:
	TASKS=$(TASKS) $(CARGO) test --locked $(OPTIMIZED) --test store history::visibility::a_page_of_many -- --ignored --nocapture
	$(CARGO) test --locked $(OPTIMIZED) --test store hook_log::templates::a_thousand -- --ignored --nocapture
	TASKS=$(TASKS) $(CARGO) test --locked $(OPTIMIZED) --test store engines::large::opening_a -- --ignored --nocapture

soak: deps-test
	FROM=$(FROM) SEEDS=$(SEEDS) $(CARGO) test $(WORKSPACE) --test simulation $(OPTIMIZED) promises
	PROPTEST_RNG_SEED=$(PROPTEST_RNG_SEED) PROPTEST_CASES=2000 $(CARGO) test --locked --lib --test store
	PROPTEST_RNG_SEED=$(PROPTEST_RNG_SEED) PROPTEST_CASES=2000 $(CARGO) test --locked --test hosts hostops::
	KILLS=$(KILLS) $(CARGO) test --locked --test hosts -- --nocapture chaos::random_kills:: chaos::kill_points::
	$(MAKE) mutants

mutants:
	tests/mutations/run

mutants-pure:
	tests/mutations/pure $(MUTANTS)

# Needs the advisory database of rustsec.org, so it is no part of `make test`.
audit:
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny --locked check

demo: deps-demo build
	$(RELEASE)/tagship demo $(if $(AUTO),--auto)

install: build
	install -d $(INTO)/bin $(INTO)/libexec/tagship $(INTO)/lib/systemd/system $(INTO)/share/man/man1 \
		$(INTO)/share/bash-completion/completions $(INTO)/share/zsh/site-functions $(INTO)/share/fish/vendor_completions.d
	install -m 0755 $(RELEASE)/tagship $(INTO)/bin/tagship
	install -m 0755 $(RELEASE)/update $(INTO)/libexec/tagship/update
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|' docs/tagship.service > $(INTO)/lib/systemd/system/tagship.service
	$(RELEASE)/tagship man $(INTO)/share/man/man1
	$(RELEASE)/tagship completions bash > $(INTO)/share/bash-completion/completions/tagship
	$(RELEASE)/tagship completions zsh > $(INTO)/share/zsh/site-functions/_tagship
	$(RELEASE)/tagship completions fish > $(INTO)/share/fish/vendor_completions.d/tagship.fish
	chmod 0644 $(INTO)/lib/systemd/system/tagship.service $(INTO)/share/man/man1/tagship*.1 \
		$(INTO)/share/bash-completion/completions/tagship $(INTO)/share/zsh/site-functions/_tagship \
		$(INTO)/share/fish/vendor_completions.d/tagship.fish

clean:
	$(CARGO) clean

help:
	@sed -n '/^$$/q; s/^# //p' Makefile
