package stack

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
)

// Server is a private server that a test may kill and start again, on the same ports and data. It ends with the
// process that started it. Its methods may be called from several goroutines.
type Server struct {
	mu     sync.Mutex
	runner runner
}

// Kill ends the server and all its child processes with SIGKILL, and returns when they are gone. Killing a server
// that does not run is no error.
func (s *Server) Kill() error { return s.end(runner.kill) }

// Start starts a server that was killed or stopped, and returns when it answers. A server that runs is left alone.
func (s *Server) Start(ctx context.Context) error { return s.do(ctx, runner.start) }

// Stop ends the server as in a planned restart: it says goodbye to its clients. Start starts it again.
func (s *Server) Stop() error { return s.end(runner.stop) }

// Close ends the server for good. Its data go with the folder it was given; the Docker backend's are removed here.
func (s *Server) Close() error { return s.end(runner.remove) }

// end does what without a caller's context: a test that cleans up has none left that could be trusted.
func (s *Server) end(what func(runner, context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), downTimeout)
	defer cancel()
	return s.do(ctx, what)
}

func (s *Server) do(ctx context.Context, what func(runner, context.Context) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return what(s.runner, ctx)
}

// Broker is a private RabbitMQ node.
type Broker struct {
	*Server
	URL        string // as Services.RabbitMQ
	Management string // as Services.Management

	control func(ctx context.Context, arguments []string) (string, error)
}

// Control runs rabbitmqctl on the node and returns what it printed.
func (b *Broker) Control(ctx context.Context, arguments ...string) (string, error) {
	output, err := b.control(ctx, arguments)
	if err != nil {
		return "", fmt.Errorf("rabbitmqctl %s: %w\n%s", strings.Join(arguments, " "), err, lastLines(output, 8))
	}
	return output, nil
}

// Postgres is a private PostgreSQL server, with the set-up of the cart's.
type Postgres struct {
	*Server
	URL string // as Services.PostgreSQL

	build    postgresBuild // empty with the Docker backend
	template string        // the data folder that it started from
}

// StartBroker starts a RabbitMQ node of its own, with its data in a new folder below dir. Close it at the end. The
// error is ErrUnsupported if the servers are given by URL.
func StartBroker(ctx context.Context, cfg Config, dir string) (*Broker, error) {
	names := []string{portAMQP, portManagement, portDistribution, portEpmd}
	backend, ports, login, err := privateBackend(ctx, cfg, names)
	if err != nil {
		return nil, fmt.Errorf("start a private RabbitMQ: %w", err)
	}
	folder := filepath.Join(dir, keyRabbitMQ)
	broker := &Broker{
		URL:        login.url("amqp", ports[portAMQP], "/"),
		Management: login.url("http", ports[portManagement], ""),
	}
	if backend == BackendDocker {
		containers, err := newContainer(cfg, "rabbitmq", folder, ports)
		if err != nil {
			return nil, err
		}
		broker.Server = &Server{runner: containers}
		broker.control = func(ctx context.Context, arguments []string) (string, error) {
			return containers.project.run(ctx, append([]string{"exec", "-T", "rabbitmq", "rabbitmqctl"}, arguments...)...)
		}
	} else {
		root, err := buildRoot(ctx, cfg, serversRecipe, newProgress(nil))
		if err != nil {
			return nil, err
		}
		ports := rabbitPorts{ports[portAMQP], ports[portManagement], ports[portDistribution], ports[portEpmd]}
		broker.Server = &Server{runner: &leashed{server: rabbitServer(root, folder, ports, login)}}
		broker.control = func(ctx context.Context, arguments []string) (string, error) {
			return rabbitctl(root, folder, ports, arguments...).run(ctx)
		}
	}
	return broker, firstStart(ctx, broker.Server)
}

// StartPostgres starts a PostgreSQL server of its own, of the cart's version, with its data in a new folder below dir.
// Close it at the end. The error is ErrUnsupported if the servers are given by URL.
func StartPostgres(ctx context.Context, cfg Config, dir string) (*Postgres, error) {
	backend, ports, login, err := privateBackend(ctx, cfg, []string{portPostgreSQL})
	if err != nil {
		return nil, fmt.Errorf("start a private PostgreSQL: %w", err)
	}
	if backend != BackendDocker {
		build, template, err := cartBuild(ctx, cfg, login, newProgress(nil))
		if err != nil {
			return nil, err
		}
		return build.private(ctx, template, dir, ports[portPostgreSQL], login)
	}
	containers, err := newContainer(cfg, "postgres", filepath.Join(dir, keyPostgreSQL), ports)
	if err != nil {
		return nil, err
	}
	postgres := &Postgres{Server: &Server{runner: containers}, URL: postgresURL(login, ports[portPostgreSQL])}
	return postgres, firstStart(ctx, postgres.Server)
}

// StartOldPostgres is StartPostgres for version 13. The error is ErrUnsupported with the Docker backend too.
func StartOldPostgres(ctx context.Context, cfg Config, dir string) (*Postgres, error) {
	port, login, err := privateRootfs(ctx, cfg, portPostgreSQL)
	if err != nil {
		return nil, fmt.Errorf("start a private PostgreSQL 13: %w", err)
	}
	root, err := buildRoot(ctx, cfg, oldRecipe, newProgress(nil))
	if err != nil {
		return nil, err
	}
	build, err := packagedPostgres(root, "13")
	if err != nil {
		return nil, err
	}
	template, err := build.template(ctx, cfg, "old", cartTemplate, postgresSettings, login, newProgress(nil))
	if err != nil {
		return nil, err
	}
	return build.private(ctx, template, dir, port, login)
}

// StartStandby starts a standby of a private PostgreSQL server, which follows it until it is promoted. The error is
// ErrUnsupported with the Docker backend too.
func StartStandby(ctx context.Context, cfg Config, dir string, primary *Postgres) (*Postgres, error) {
	port, login, err := privateRootfs(ctx, cfg, portPostgreSQL)
	if err != nil {
		return nil, fmt.Errorf("start a standby of PostgreSQL: %w", err)
	}
	folder := filepath.Join(dir, "standby")
	server := primary.build.server("the standby of PostgreSQL", primary.template, folder, port, login)
	server.prepare = func() error {
		return newFolder(folder, func(dir string) error { return primary.copyTo(ctx, dir, login) })
	}
	standby := &Postgres{
		Server: &Server{runner: &leashed{server: server}},
		URL:    postgresURL(login, port), build: primary.build, template: primary.template,
	}
	return standby, firstStart(ctx, standby.Server)
}

// Pooler is a private PgBouncer.
type Pooler struct {
	*Server
	Addr string // host:port where it listens
}

// StartPooler starts a PgBouncer. databases and settings are lines of the two sections of its configuration file. The
// error is ErrUnsupported with the Docker backend too.
func StartPooler(ctx context.Context, cfg Config, dir string, databases, settings []string) (*Pooler, error) {
	port, _, err := privateRootfs(ctx, cfg, "pooler")
	if err != nil {
		return nil, fmt.Errorf("start a private PgBouncer: %w", err)
	}
	root, err := buildRoot(ctx, cfg, poolerRecipe, newProgress(nil))
	if err != nil {
		return nil, err
	}
	server := poolerServer(root, filepath.Join(dir, "pooler"), port, databases, settings)
	pooler := &Pooler{Server: &Server{runner: &leashed{server: server}}, Addr: loopback(port)}
	return pooler, firstStart(ctx, pooler.Server)
}

// privateRootfs is privateBackend for one server that the Docker backend does not have.
func privateRootfs(ctx context.Context, cfg Config, name string) (int, credentials, error) {
	backend, ports, login, err := privateBackend(ctx, cfg, []string{name})
	if err == nil && backend == BackendDocker {
		err = ErrUnsupported
	}
	return ports[name], login, err
}

// privateBackend chooses the backend for a private server, and ports and credentials for it.
func privateBackend(ctx context.Context, cfg Config, names []string) (string, map[string]int, credentials, error) {
	if err := cfg.validate(); err != nil {
		return "", nil, credentials{}, err
	}
	if cfg.given() && cfg.Backend == BackendAuto {
		return "", nil, credentials{}, ErrUnsupported
	}
	backend, _, err := newBackend(ctx, cfg.Backend, cfg, newProgress(nil))
	if err != nil {
		return "", nil, credentials{}, err
	}
	login, err := loadCredentials(cfg.Dir)
	if err != nil {
		return "", nil, credentials{}, err
	}
	numbers, err := reservePorts(ctx, filepath.Join(cfg.Dir, "ports"), len(names))
	if err != nil {
		return "", nil, credentials{}, err
	}
	ports := map[string]int{}
	for i, name := range names {
		ports[name] = numbers[i]
	}
	return backend, ports, login, nil
}

// firstStart starts a new server, and leaves nothing of it if that fails.
func firstStart(ctx context.Context, s *Server) error {
	err := s.Start(ctx)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
		defer cancel()
		err = errors.Join(err, s.do(ctx, runner.remove))
	}
	return err
}
