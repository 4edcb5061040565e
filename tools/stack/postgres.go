package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// postgresBuild is an installed PostgreSQL.
type postgresBuild struct {
	root    string // root file system that it is installed in
	bin     string // folder of its programs in there
	version string
}

// settings for every PostgreSQL of a stack. Data need to survive a killed server, which they do without fsync, but
// not a crash of the machine. The System V segments that are asked for here belong to the server's IPC namespace, so
// a killed server leaves none behind.
const postgresSettings = `
listen_addresses = '127.0.0.1'
unix_socket_directories = '` + home + `'
max_connections = 300
fsync = off
dynamic_shared_memory_type = sysv
max_wal_size = 4GB
log_timezone = 'UTC'
timezone = 'UTC'
`

// cartTemplate makes a data folder as the cart's server has it. The locale is the one of the platform's database
// image; it is compiled here, so that the machine need not have it.
const cartTemplate = `
set -e
mkdir locale
localedef --no-archive -i en_US -f UTF-8 locale/en_US.utf8
export LOCPATH=` + home + `/locale LC_ALL=en_US.utf8
"$BIN/initdb" -D data -U "$OWNER" --pwfile=password --auth-host=scram-sha-256 --auth-local=trust \
	--locale=en_US.utf8 -E UTF8 --no-sync
cat settings >> data/postgresql.conf
rm settings password
`

// cartPostgres returns the PostgreSQL for the cart's database. In profile platform that is the machine's version 15
// if it has one, else version 15 in a root file system of its own, else what profile next has: the version of the
// servers' root file system.
func cartPostgres(ctx context.Context, cfg Config, say *progress) (postgresBuild, error) {
	if cfg.Profile == ProfileNext {
		return serversPostgres(ctx, cfg, say)
	}
	if build, found := machinePostgres(cfg.PostgresBin); found {
		return build, nil
	}
	root, err := buildRoot(ctx, cfg, cartRecipe, say)
	if err == nil {
		return packagedPostgres(root, "15")
	}
	if ctx.Err() != nil {
		return postgresBuild{}, err
	}
	say.printf("PostgreSQL 15 cannot be had (%v); version 18 takes its place", err)
	return serversPostgres(ctx, cfg, say)
}

// serversPostgres returns the PostgreSQL of the servers' root file system.
func serversPostgres(ctx context.Context, cfg Config, say *progress) (postgresBuild, error) {
	root, err := buildRoot(ctx, cfg, serversRecipe, say)
	if err != nil {
		return postgresBuild{}, err
	}
	return packagedPostgres(root, "18")
}

// machinePostgres returns the machine's own PostgreSQL in folder bin, if it is there with all that is needed.
func machinePostgres(bin string) (postgresBuild, bool) {
	needed := []string{
		filepath.Join(bin, "postgres"), filepath.Join(bin, "initdb"), filepath.Join(bin, "psql"),
		"/usr/share/i18n/locales/en_US", "/usr/bin/localedef",
	}
	for _, file := range needed {
		if !exists(file) {
			return postgresBuild{}, false
		}
	}
	printed, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output() // postgres (PostgreSQL) 15.18 (…)
	fields := strings.Fields(string(printed))
	if err != nil || len(fields) < 3 || !strings.HasPrefix(fields[2], "15.") {
		return postgresBuild{}, false
	}
	return postgresBuild{root: "/", bin: bin, version: fields[2]}, true
}

// packagedPostgres returns the PostgreSQL that Debian's package put into a root file system.
func packagedPostgres(root, major string) (postgresBuild, error) {
	version, err := packageVersion(root, "postgresql-"+major)
	if err != nil {
		return postgresBuild{}, err
	}
	return postgresBuild{root: root, bin: "/usr/lib/postgresql/" + major + "/bin", version: upstream(version)}, nil
}

// template returns a data folder that script made once, for servers to start from a copy of. The script runs as the
// servers' user in a folder that holds the owner's password and the settings.
func (pg postgresBuild) template(ctx context.Context, cfg Config, name, script, settings string, owner credentials, say *progress) (string, error) {
	// Compiled locales belong to a version of the C library.
	libc, err := packageVersion(pg.root, "libc6")
	if err != nil {
		return "", err
	}
	key := fingerprint(pg.root, pg.bin, pg.version, libc, script, settings, owner.User, owner.Password)
	folder := filepath.Join(cfg.Dir, "template", name+"-"+key)
	busy := func() { say.printf("waiting for another process that initialises %s …", name) }
	err = artifact(ctx, folder, busy, func(building string) error {
		for file, text := range map[string]string{"password": owner.Password, "settings": settings} {
			if err := os.WriteFile(filepath.Join(building, file), []byte(text), 0o644); err != nil {
				return err
			}
		}
		if err := errors.Join(os.Chmod(building, 0o700), os.Chown(building, nobody, nobody)); err != nil {
			return err
		}
		initialise := confined{
			root: pg.root, dir: building, user: nobody,
			env:  append([]string{"BIN=" + pg.bin, "OWNER=" + owner.User, "PASSWORD=" + owner.Password}, baseEnv...),
			argv: []string{"/bin/sh", "-c", "cd " + home + "\n" + script},
		}
		output, err := initialise.run(ctx)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("%w; its last lines:\n%s", err, lastLines(output, 12))
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("initialise a data folder for %s: %w", name, err)
	}
	return folder, nil
}

// server returns a PostgreSQL server that starts from a copy of template in dir.
func (pg postgresBuild) server(name, template, dir string, port int, owner credentials) server {
	env := baseEnv
	if exists(filepath.Join(template, "locale")) {
		env = append([]string{"LOCPATH=" + home + "/locale"}, baseEnv...)
	}
	return server{
		name:  name,
		ports: []int{port},
		program: confined{
			root: pg.root, dir: dir, user: nobody, env: env,
			argv: []string{path.Join(pg.bin, "postgres"), "-D", home + "/data", "-c", "port=" + strconv.Itoa(port)},
		},
		prepare: func() error {
			return newFolder(dir, func(dir string) error { return copyFolder(template, dir) })
		},
		answers: func(ctx context.Context) error { return pg.query(ctx, port, owner, "select 1") },
	}
}

// private starts a server for a test.
func (pg postgresBuild) private(ctx context.Context, template, dir string, port int, login credentials) (*Postgres, error) {
	server := pg.server("PostgreSQL", template, filepath.Join(dir, keyPostgreSQL), port, login)
	private := &Postgres{
		Server: &Server{runner: &leashed{server: server}},
		URL:    postgresURL(login, port), build: pg, template: template,
	}
	return private, firstStart(ctx, private.Server)
}

func postgresURL(login credentials, port int) string {
	return login.url("postgres", port, "/postgres?sslmode=disable")
}

// copyTo fills a standby's folder with the data of the running server.
func (p *Postgres) copyTo(ctx context.Context, dir string, login credentials) error {
	if locale := filepath.Join(p.template, "locale"); exists(locale) {
		if err := os.Mkdir(filepath.Join(dir, "locale"), 0o755); err != nil {
			return err
		}
		if err := copyFolder(locale, filepath.Join(dir, "locale")); err != nil {
			return err
		}
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		return err
	}
	copying := confined{
		root: p.build.root, dir: dir, user: nobody, env: append([]string{"PGPASSWORD=" + login.Password}, baseEnv...),
		argv: []string{path.Join(p.build.bin, "pg_basebackup"), "--dbname=" + p.URL, "--no-password", "--pgdata=" + home + "/data",
			"--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"},
	}
	output, err := copying.run(ctx)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w; its last lines:\n%s", err, lastLines(output, 8))
	}
	return err
}

// query runs one statement over TCP, with the password, as the stack's users do.
func (pg postgresBuild) query(ctx context.Context, port int, login credentials, statement string) error {
	cmd := exec.CommandContext(ctx, path.Join(pg.bin, "psql"), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only",
		"--host=127.0.0.1", "--port="+strconv.Itoa(port), "--username="+login.User, "--dbname=postgres",
		"--set=ON_ERROR_STOP=1", "--command="+statement)
	cmd.Env = append([]string{"PGPASSWORD=" + login.Password, "PGCONNECT_TIMEOUT=5"}, baseEnv...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: pg.root, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("query PostgreSQL: %w: %s", err, bytes.TrimSpace(output))
	}
	return nil
}

// copyFolder copies the files of a folder into another that is there, owners and modes included. This process does it
// itself: a program that copies would go on when this process is killed, and disturb whoever comes next.
func copyFolder(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		copied := filepath.Join(to, relative)
		if owner, known := info.Sys().(*syscall.Stat_t); known {
			if err := os.Chown(copied, int(owner.Uid), int(owner.Gid)); err != nil {
				return err
			}
		}
		return os.Chmod(copied, info.Mode().Perm())
	})
}
