package stack

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// poolerServer returns a PgBouncer in front of other servers.
func poolerServer(root, dir string, port int, databases, settings []string) server {
	const file = "pgbouncer.ini"
	lines := append([]string{"[databases]"}, databases...)
	lines = append(lines, "[pgbouncer]", "listen_addr = 127.0.0.1", "listen_port = "+strconv.Itoa(port), "unix_socket_dir =")
	text := strings.Join(append(lines, settings...), "\n") + "\n"
	return server{
		name:  "PgBouncer",
		ports: []int{port},
		program: confined{
			root: root, dir: dir, user: nobody, env: baseEnv,
			argv: []string{"/usr/sbin/pgbouncer", home + "/" + file},
		},
		prepare: func() error {
			return newFolder(dir, func(dir string) error {
				name := filepath.Join(dir, file)
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil { // it holds a password
					return err
				}
				return os.Chown(name, nobody, nobody)
			})
		},
		answers: func(ctx context.Context) error { return reach(ctx, "postgres://"+loopback(port)) },
	}
}
