package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// The ports of a stack, by what listens there. A Docker stack has the first four only.
const (
	portMongoDB      = "mongodb"
	portPostgreSQL   = "postgresql"
	portAMQP         = "amqp"
	portManagement   = "management"
	portDocumentDB   = "documentdb"
	portDistribution = "distribution"
	portEpmd         = "epmd"
)

// backend is one way to have a stack's servers. Its methods are called under the stack's lock, running excepted.
type backend interface {
	// portNames lists the ports that a stack needs.
	portNames() []string
	// up starts the servers that are not running and waits until all answer. It fills in the state's servers and
	// versions; save writes the state down. If it fails, what it started itself is ended again.
	up(ctx context.Context, st *state, save func() error) error
	// down ends the servers; the caller removes their data.
	down(ctx context.Context, st *state) error
	// running returns nil, or an error that names a server that is not running.
	running(st *state) error
}

// newBackend returns the backend called name, or for BackendAuto the first one that works here.
func newBackend(ctx context.Context, name string, cfg Config, say *progress) (string, backend, error) {
	switch name {
	case BackendDocker:
		return name, dockerBackend{cfg, say}, nil
	case BackendRootfs:
		if err := canRootfs(ctx); err != nil {
			return "", nil, fmt.Errorf("the rootfs backend does not work here: %w", err)
		}
		return name, rootfsBackend{cfg, say}, nil
	}
	noDocker := dockerEngine(ctx)
	if noDocker == nil {
		return BackendDocker, dockerBackend{cfg, say}, nil
	}
	if ctx.Err() != nil {
		return "", nil, context.Cause(ctx)
	}
	noRootfs := canRootfs(ctx)
	if noRootfs == nil {
		return BackendRootfs, rootfsBackend{cfg, say}, nil
	}
	return "", nil, fmt.Errorf(`this machine offers no way to get servers:
  - Docker: %w
  - a Debian root file system: %w
Do one of these:
  - set %s, %s, %s and %s to servers that you have
  - start a Docker engine (with the compose plugin)
  - run this as root on Debian`,
		noDocker, noRootfs, EnvMongoDB, EnvPostgreSQL, EnvRabbitMQ, EnvManagement)
}

// canRootfs tells why the rootfs backend cannot work on this machine, or nil.
func canRootfs(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("it needs root")
	}
	if !exists("/usr/bin/apt-get") || !exists("/var/lib/dpkg/status") {
		return errors.New("it needs a Debian system with apt-get")
	}
	if !exists(home) {
		return errors.New("it needs the folder " + home + ", which every Debian system has; make it")
	}
	return canIsolate(ctx)
}
