package stack

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
)

// The servers of a rootfs stack, by the names of their folders and in the state.
const (
	keyDocumentDB = "documentdb"
	keyFerretDB   = "ferretdb"
	keyPostgreSQL = "postgresql"
	keyRabbitMQ   = "rabbitmq"
)

// rootfsBackend runs servers out of private root file systems, as an unprivileged user.
type rootfsBackend struct {
	cfg Config
	say *progress
}

func (b rootfsBackend) portNames() []string {
	return []string{portMongoDB, portPostgreSQL, portAMQP, portManagement, portDocumentDB, portDistribution, portEpmd}
}

// servers returns the stack's servers and their versions, having built what they need.
func (b rootfsBackend) servers(ctx context.Context, st *state) (map[string]server, map[string]string, error) {
	login, err := loadCredentials(b.cfg.Dir)
	if err != nil {
		return nil, nil, err
	}
	owner := credentials{User: documentdbOwner, Password: login.Password}
	var (
		root                     string
		documentdb, cart         postgresBuild
		documentdbData, cartData string
		ferret                   ferretBuild
	)
	err = inParallel(ctx,
		func(ctx context.Context) (err error) {
			if root, err = buildRoot(ctx, b.cfg, serversRecipe, b.say); err != nil {
				return err
			}
			if documentdb, err = packagedPostgres(root, "18"); err != nil {
				return err
			}
			documentdbData, err = documentdb.template(ctx, b.cfg, "documentdb", documentdbTemplate, documentdbSettings, login, b.say)
			return err
		},
		func(ctx context.Context) (err error) {
			ferret, err = buildFerretDB(ctx, b.cfg, b.say)
			return err
		},
		func(ctx context.Context) (err error) {
			cart, cartData, err = cartBuild(ctx, b.cfg, login, b.say)
			return err
		},
	)
	if err != nil {
		return nil, nil, err
	}
	documentdbVersion, err := packageVersion(root, "postgresql-18-documentdb")
	if err != nil {
		return nil, nil, err
	}
	rabbitVersion, err := packageVersion(root, "rabbitmq-server")
	if err != nil {
		return nil, nil, err
	}
	folder := func(key string) string { return filepath.Join(b.cfg.stackDir(), key) }
	ports := rabbitPorts{st.Ports[portAMQP], st.Ports[portManagement], st.Ports[portDistribution], st.Ports[portEpmd]}
	return map[string]server{
			keyDocumentDB: documentdb.server("DocumentDB", documentdbData, folder(keyDocumentDB), st.Ports[portDocumentDB], owner),
			keyFerretDB:   ferretServer(ferret, folder(keyFerretDB), st.Ports[portMongoDB], st.Ports[portDocumentDB], login),
			keyPostgreSQL: cart.server("PostgreSQL", cartData, folder(keyPostgreSQL), st.Ports[portPostgreSQL], login),
			keyRabbitMQ:   rabbitServer(root, folder(keyRabbitMQ), ports, login),
		}, map[string]string{
			portMongoDB:    "FerretDB " + ferret.version + ", DocumentDB " + upstream(documentdbVersion),
			portPostgreSQL: cart.version,
			portAMQP:       upstream(rabbitVersion),
		}, nil
}

// cartBuild returns the PostgreSQL for the cart's database and its initialised data folder.
func cartBuild(ctx context.Context, cfg Config, login credentials, say *progress) (postgresBuild, string, error) {
	build, err := cartPostgres(ctx, cfg, say)
	if err != nil {
		return postgresBuild{}, "", err
	}
	data, err := build.template(ctx, cfg, "postgresql", cartTemplate, postgresSettings, login, say)
	return build, data, err
}

func (b rootfsBackend) up(ctx context.Context, st *state, save func() error) error {
	servers, versions, err := b.servers(ctx, st)
	if err != nil {
		return err
	}
	st.Versions = versions
	if st.Servers == nil {
		st.Servers = map[string]process{}
	}
	var mu sync.Mutex // guards st and started
	var started []*instance
	ensure := func(ctx context.Context, key string) error {
		server := servers[key]
		mu.Lock()
		before, known := st.Servers[key]
		mu.Unlock()
		if before.alive() {
			return server.await(ctx, before)
		}
		if known {
			b.say.printf("%s has ended; starting it again …", server.name)
		} else {
			b.say.printf("starting %s …", server.name)
		}
		in, err := server.start(ctx, false, func(p process) error {
			mu.Lock()
			defer mu.Unlock()
			st.Servers[key] = p
			return save()
		})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		started = append(started, in)
		return nil
	}
	err = inParallel(ctx,
		func(ctx context.Context) error { return ensure(ctx, keyRabbitMQ) },
		func(ctx context.Context) error { return ensure(ctx, keyPostgreSQL) },
		func(ctx context.Context) error {
			if err := ensure(ctx, keyDocumentDB); err != nil {
				return err
			}
			return ensure(ctx, keyFerretDB)
		},
	)
	if err != nil {
		for _, in := range started {
			err = errors.Join(err, in.kill())
		}
	}
	return err
}

// down kills: the data are about to be removed, so there is nothing to be saved by asking nicely.
func (b rootfsBackend) down(ctx context.Context, st *state) error {
	var failed error
	for _, p := range st.Servers {
		failed = errors.Join(failed, p.signal(syscall.SIGKILL))
	}
	for _, p := range st.Servers {
		failed = errors.Join(failed, p.awaitEnd(ctx))
	}
	return failed
}

func (b rootfsBackend) running(st *state) error {
	for _, key := range []string{keyDocumentDB, keyFerretDB, keyPostgreSQL, keyRabbitMQ} {
		if !st.Servers[key].alive() {
			return fmt.Errorf("%s is not running", key)
		}
	}
	return nil
}

// outdated tells whether the state is from before the machine's last start. Its servers ran without fsync, so their
// data are not to be trusted any more.
func outdated(st *state) bool {
	boot, err := bootID()
	if err != nil {
		return false
	}
	for _, p := range st.Servers {
		if p.Boot != boot {
			return true
		}
	}
	return false
}
