package stack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// documentdbOwner owns DocumentDB's database; FerretDB logs in as this user. The stack's own user, which MongoDB
// clients log in as, has DocumentDB's roles only.
const documentdbOwner = "ferretdb"

// DocumentDB runs its periodic and background work over connections of its own. They go through the socket, which
// needs no password and which only the server's user can reach. An open cursor keeps a connection, also when its client has vanished.
const documentdbSettings = postgresSettings + `
shared_preload_libraries = 'pg_cron,pg_documentdb_core,pg_documentdb'
cron.database_name = 'postgres'
cron.host = '` + home + `'
cron.log_run = off
cron.log_statement = off
documentdb.localhost_connection_string = 'host=` + home + `'
max_connections = 1000
shared_buffers = 512MB
synchronous_commit = off
full_page_writes = off
`

// documentdbTemplate makes a data folder with DocumentDB and the stack's user in it. These two roles together are
// what DocumentDB calls an administrator.
const documentdbTemplate = `
set -e
"$BIN/initdb" -D data -U ` + documentdbOwner + ` --pwfile=password --auth-host=scram-sha-256 --auth-local=trust \
	--locale=C.UTF-8 -E UTF8 --no-sync --no-instructions
cat settings >> data/postgresql.conf
"$BIN/pg_ctl" start --wait --silent -D data -l first-start.log -o "-c listen_addresses="
"$BIN/psql" -X -q -h ` + home + ` -U ` + documentdbOwner + ` -d postgres -v ON_ERROR_STOP=1 \
	-v user="{\"createUser\":\"$OWNER\",\"pwd\":\"$PASSWORD\",\"roles\":[{\"role\":\"clusterAdmin\",\"db\":\"admin\"},{\"role\":\"readWriteAnyDatabase\",\"db\":\"admin\"}]}" <<-'SQL'
	CREATE EXTENSION documentdb CASCADE;
	SELECT documentdb_api.create_user(:'user');
SQL
"$BIN/pg_ctl" stop --wait --silent -D data -m fast
rm settings password
`

// ferretServer returns FerretDB, which speaks the MongoDB protocol in front of the DocumentDB at port backend.
func ferretServer(build ferretBuild, dir string, port, backend int, login credentials) server {
	owner := credentials{User: documentdbOwner, Password: login.Password}
	return server{
		name:  "FerretDB",
		ports: []int{port},
		program: confined{
			root: "/", dir: dir, user: nobody,
			env: append([]string{
				"FERRETDB_POSTGRESQL_URL=" + owner.url("postgres", backend, "/postgres"), // not an argument: all users see those
				"FERRETDB_LISTEN_ADDR=" + loopback(port),
				"FERRETDB_DEBUG_ADDR=-",
				"FERRETDB_STATE_DIR=" + home,
				"FERRETDB_TELEMETRY=disable",
				"FERRETDB_LOG_LEVEL=WARN", // at INFO every command is a line, which costs more than most commands
			}, baseEnv...),
			argv: []string{home + "/ferretdb"},
		},
		prepare: func() error {
			return newFolder(dir, func(dir string) error { return linkOrCopy(build.program, filepath.Join(dir, "ferretdb")) })
		},
		answers: func(ctx context.Context) error { return pingMongoDB(ctx, login.url("mongodb", port, "/")) },
	}
}

// linkOrCopy makes to another name of the program from, or a copy where they lie on different file systems.
func linkOrCopy(from, to string) error {
	err := os.Link(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	program, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, program, 0o755)
}
