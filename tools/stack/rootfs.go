package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// recipe says how a root file system is built out of Debian packages.
type recipe struct {
	suite    string
	packages []string
	hook     string              // shell command run on the finished system, whose path is $1
	wants    map[string][]string // package: the versions' beginnings that the stack is known to work with
	minutes  string              // how long building takes, for people
}

// serversRecipe has the servers that only a recent Debian packages: PostgreSQL with DocumentDB, which stands behind
// the MongoDB protocol, and RabbitMQ.
var serversRecipe = recipe{
	suite:    "forky",
	packages: []string{"locales", "postgresql-18", "postgresql-18-documentdb", "rabbitmq-server"},
	// RabbitMQ reads the configuration schema and the feature flags of every plugin it finds, enabled or not. Without
	// those that are never enabled here it starts a second earlier.
	hook: `cd "$1"/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins &&
		ls -d rabbitmq_* | grep -vE "^rabbitmq_(management|management_agent|prelaunch|web_dispatch)-" | xargs rm -r`,
	wants: map[string][]string{
		"postgresql-18":            {"18."},
		"postgresql-18-documentdb": {"1."},
		"rabbitmq-server":          {"4."},
	},
	minutes: "about 2 minutes",
}

// cartRecipe has the PostgreSQL version that the platform's cart runs on, for machines that have none.
var cartRecipe = recipe{
	suite:    "bookworm",
	packages: []string{"locales", "postgresql-15"},
	wants:    map[string][]string{"postgresql-15": {"15."}},
	minutes:  "about 1 minute",
}

// oldRecipe has the last PostgreSQL version that is too old for the service, for the tests that meet it.
var oldRecipe = recipe{
	suite:    "bullseye",
	packages: []string{"locales", "postgresql-13"},
	wants:    map[string][]string{"postgresql-13": {"13."}},
	minutes:  "about 1 minute",
}

// poolerRecipe has PgBouncer, for the tests of what stands in front of PostgreSQL.
var poolerRecipe = recipe{
	suite:    "bookworm",
	packages: []string{"pgbouncer"},
	wants:    map[string][]string{"pgbouncer": {"1."}},
	minutes:  "about 1 minute",
}

// Every recipe's options. PostgreSQL's packages would otherwise make a database cluster that nobody uses.
const clusterHook = `mkdir -p "$1/etc/postgresql-common" &&
	echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"`

var buildOptions = []string{
	"--variant=minbase", "--mode=root",
	"--aptopt=APT::Install-Recommends \"false\"",
	"--aptopt=APT::Sandbox::User \"root\"", // the cache folder may be one that apt's own user cannot enter
	"--aptopt=Acquire::Check-Valid-Until \"false\"",
	"--aptopt=Acquire::Retries \"3\"",
	"--dpkgopt=path-exclude=/usr/share/doc/*",
	"--dpkgopt=path-exclude=/usr/share/man/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*",
	"--essential-hook=" + clusterHook,
}

func (r recipe) name() string {
	return r.suite + "-" + fingerprint(append(append([]string{r.suite, r.hook}, r.packages...), buildOptions...)...)
}

// check compares the versions that were installed with those that the stack is known to work with.
func (r recipe) check(root string) error {
	for name, known := range r.wants {
		version, err := packageVersion(root, name)
		if err != nil {
			return err
		}
		fits := false
		for _, beginning := range known {
			fits = fits || strings.HasPrefix(upstream(version), beginning)
		}
		if !fits {
			return fmt.Errorf("the mirror's Debian %s has %s in version %s, but the stack needs %sx: "+
				"set STACK_DEBIAN_MIRROR to a mirror or snapshot that has it, or give servers by URL (%s and so on)",
				r.suite, name, version, strings.Join(known, "x or "), EnvMongoDB)
		}
	}
	return nil
}

// buildRoot returns the folder of the recipe's root file system, and builds it first if it is not there yet.
func buildRoot(ctx context.Context, cfg Config, r recipe, say *progress) (string, error) {
	folder := filepath.Join(cfg.Dir, "rootfs", r.name())
	busy := func() {
		say.printf("waiting for another process that builds the root file system of Debian %s …", r.suite)
	}
	err := artifact(ctx, folder, busy, func(building string) error {
		from, err := mirrorOf(cfg)
		if err != nil {
			return err
		}
		if err := ensureBuilder(ctx, cfg, say); err != nil {
			return err
		}
		say.printf("building the root file system of Debian %s (once, %s) …", r.suite, r.minutes)
		begun := time.Now()
		if err := r.build(ctx, building, from); err != nil {
			return err
		}
		say.printf("built the root file system of Debian %s in %s", r.suite, time.Since(begun).Round(time.Second))
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("build the root file system of Debian %s: %w", r.suite, err)
	}
	return filepath.Join(folder, "root"), nil
}

// build makes the file system in folder/root. The builder runs confined, so that it takes its children and its mounts
// with it when it is interrupted; being root in there it can do all that it could do outside.
func (r recipe) build(ctx context.Context, folder string, from mirror) error {
	temporary := filepath.Join(folder, "tmp.build")
	if err := os.Mkdir(temporary, 0o755); err != nil {
		return fmt.Errorf("make the build's temporary folder: %w", err)
	}
	arguments := append([]string{"mmdebstrap"}, buildOptions...)
	for _, option := range aptProxies(ctx) {
		arguments = append(arguments, "--aptopt="+option)
	}
	if from.keyring != "" {
		arguments = append(arguments, "--keyring="+from.keyring)
	}
	arguments = append(arguments, "--include="+strings.Join(r.packages, ","))
	if r.hook != "" {
		arguments = append(arguments, "--customize-hook="+r.hook)
	}
	arguments = append(arguments, r.suite, home+"/root", from.uri)
	builder := confined{
		root: "/", dir: folder, user: 0,
		env:  append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "TMPDIR="+home+"/tmp.build"),
		argv: arguments,
	}
	var output bytes.Buffer
	if err := builder.runTo(ctx, &output); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w; its last lines:\n%s", err, lastLines(output.String(), 12))
	}
	if err := r.finish(filepath.Join(folder, "root")); err != nil {
		return err
	}
	return os.RemoveAll(temporary)
}

// finish checks the built system and gives it the one file that servers need of it and that differs by machine.
func (r recipe) finish(root string) error {
	if err := r.check(root); err != nil {
		return err
	}
	hosts := "127.0.0.1 localhost\n::1 localhost\n"
	if err := os.WriteFile(filepath.Join(root, "etc/hosts"), []byte(hosts), 0o644); err != nil {
		return fmt.Errorf("write the root file system's hosts: %w", err)
	}
	return nil
}

func mirrorOf(cfg Config) (mirror, error) {
	if cfg.Mirror != "" {
		return mirror{uri: cfg.Mirror}, nil
	}
	id, codename, err := osRelease("/etc/os-release")
	if err != nil {
		return mirror{}, err
	}
	if id != "debian" {
		return mirror{}, fmt.Errorf("this machine runs %s, whose package mirror has no Debian packages: set STACK_DEBIAN_MIRROR to a Debian mirror", id)
	}
	return debianMirror("/etc/apt", codename)
}

// aptProxies returns the proxies that the machine's apt goes through, as apt options.
func aptProxies(ctx context.Context) []string {
	dump, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return nil // apt itself would tell; without its word there is no proxy
	}
	var options []string
	for line := range strings.Lines(string(dump)) {
		line = strings.TrimSuffix(strings.TrimSpace(line), ";")
		if strings.HasPrefix(line, "Acquire::http::Proxy") || strings.HasPrefix(line, "Acquire::https::Proxy") {
			options = append(options, line)
		}
	}
	return options
}

// ensureBuilder installs mmdebstrap, a tool that starts nothing, if the machine does not have it.
func ensureBuilder(ctx context.Context, cfg Config, say *progress) error {
	_, err := ensureProgram(ctx, cfg, say, "mmdebstrap", "the tool that builds root file systems", "debian-archive-keyring")
	return err
}

// ensureProgram returns the path of a program, and installs its package and others of Debian if
// the machine does not have it.
func ensureProgram(ctx context.Context, cfg Config, say *progress, name, what string, others ...string) (string, error) {
	held, err := lock(ctx, filepath.Join(cfg.Dir, "apt-get.lock"), nil)
	if err != nil {
		return "", err
	}
	defer held.release()
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	say.printf("installing %s with apt-get (%s) …", name, what)
	install := append([]string{"install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", name}, others...)
	if _, err := aptGet(ctx, install...); err == nil {
		return exec.LookPath(name)
	}
	// Package lists may be missing or old. One source that cannot be reached fails the update but need not matter.
	_, _ = aptGet(ctx, "update")
	if output, err := aptGet(ctx, install...); err != nil {
		return "", fmt.Errorf("install %s: %w; its last lines:\n%s", name, err, lastLines(output, 8))
	}
	return exec.LookPath(name)
}

// aptGet runs apt-get to its end even if ctx ends meanwhile, and returns ctx's error only then: an apt-get that is
// killed leaves the machine's package database to be repaired by hand. Its own process group keeps Ctrl-C from it.
func aptGet(ctx context.Context, arguments ...string) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	cmd := exec.Command("apt-get", arguments...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output, err := cmd.CombinedOutput()
	return string(output), errors.Join(err, context.Cause(ctx))
}
