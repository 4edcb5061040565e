package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// downTimeout bounds the taking down of servers when there is no time left from the caller's context.
const downTimeout = time.Minute

// Up makes sure that the stack runs and returns where its servers answer. Whatever does not run yet is started; each
// server has served an authenticated request when Up returns. Progress goes to log in plain language. Calling it again
// is quick and harmless; callers at the same time, in other processes too, wait for each other.
//
// If Up fails or ctx ends, the servers that it started are ended again. With servers given by URL, Up only checks that
// something listens there.
func Up(ctx context.Context, cfg Config, log io.Writer) (Services, error) {
	return bringUp(ctx, cfg, newProgress(log), false)
}

// bringUp is Up; transient marks a stack that it starts as one for the last Run to take down.
func bringUp(ctx context.Context, cfg Config, say *progress, transient bool) (Services, error) {
	if err := cfg.validate(); err != nil {
		return Services{}, err
	}
	if cfg.given() {
		return cfg.Given, reachGiven(ctx, cfg.Given)
	}
	held, err := lockStack(ctx, cfg, say)
	if err != nil {
		return Services{}, err
	}
	defer held.release()

	st, err := readState(cfg.stateFile())
	switch {
	case notThere(err):
		st = nil
	case err != nil:
		return Services{}, fmt.Errorf("%w (remedy: remove the folder %s)", err, cfg.stackDir())
	case outdated(st):
		say.printf("the machine has been restarted since; starting the stack anew, without its old data")
		st = nil
	}
	fresh := st == nil
	if fresh {
		// What an interrupted first start left behind is of no use: its processes never got their order to run.
		if err := os.RemoveAll(cfg.stackDir()); err != nil {
			return Services{}, fmt.Errorf("remove the old stack's data: %w", err)
		}
		st = &state{Profile: cfg.Profile, Transient: transient}
	}
	if err := cfg.agrees(st); err != nil {
		return Services{}, err
	}
	if !transient {
		st.Transient = false // somebody wants it to stay
	}
	if err := start(ctx, cfg, st, say); err != nil {
		if fresh {
			err = errors.Join(err, discard(ctx, cfg, st))
		}
		return Services{}, fmt.Errorf("bring up stack %q: %w", cfg.Name, err)
	}
	return st.Services, nil
}

// start starts what of the stack is not running.
func start(ctx context.Context, cfg Config, st *state, say *progress) error {
	wanted := cfg.Backend
	if st.Backend != "" {
		wanted = st.Backend
	}
	name, servers, err := newBackend(ctx, wanted, cfg, say)
	if err != nil {
		return err
	}
	st.Backend = name
	if st.Ports == nil {
		names := servers.portNames()
		ports, err := reservePorts(ctx, filepath.Join(cfg.Dir, "ports"), len(names))
		if err != nil {
			return err
		}
		st.Ports = map[string]int{}
		for i, name := range names {
			st.Ports[name] = ports[i]
		}
	}
	login, err := loadCredentials(cfg.Dir)
	if err != nil {
		return err
	}
	st.Services = login.services(st.Ports)
	save := func() error { return st.write(cfg.stateFile()) }
	if err := servers.up(ctx, st, save); err != nil {
		return err
	}
	return save()
}

// discard ends what there may be of a stack and removes its data.
func discard(ctx context.Context, cfg Config, st *state) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	if st.Backend != "" {
		_, servers, err := newBackend(ctx, st.Backend, cfg, newProgress(nil))
		if err != nil {
			return err
		}
		if err := servers.down(ctx, st); err != nil {
			return err // the state stays, so that taking it down can be tried again
		}
	}
	if err := os.RemoveAll(cfg.stackDir()); err != nil {
		return fmt.Errorf("remove the stack's data: %w", err)
	}
	return nil
}

// Current returns where the servers of the stack answer: those given by URL, else those of the running stack of the
// configuration's name. The error is ErrDown if there is none, or if one of its servers has died.
func Current(cfg Config) (Services, error) {
	if err := cfg.validate(); err != nil {
		return Services{}, err
	}
	if cfg.given() {
		return cfg.Given, nil
	}
	st, err := readState(cfg.stateFile())
	if notThere(err) {
		return Services{}, fmt.Errorf("stack %q: %w", cfg.Name, ErrDown)
	}
	if err != nil {
		return Services{}, err
	}
	if err := cfg.agrees(st); err != nil {
		return Services{}, err
	}
	if err := backendOf(st, cfg).running(st); err != nil {
		return Services{}, fmt.Errorf("stack %q: %w: %w", cfg.Name, ErrDown, err)
	}
	return st.Services, nil
}

// backendOf returns the backend that a state belongs to, for asking it what runs.
func backendOf(st *state, cfg Config) backend {
	if st.Backend == BackendDocker {
		return dockerBackend{cfg, newProgress(nil)}
	}
	return rootfsBackend{cfg, newProgress(nil)}
}

// Down ends the stack's servers and removes their data; what was built for them stays for the next time. It ends
// only processes that the stack started. That nothing runs is no error, and given servers are left alone.
func Down(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	if cfg.given() {
		return nil
	}
	held, err := lockStack(ctx, cfg, newProgress(nil))
	if err != nil {
		return err
	}
	defer held.release()
	return takeDown(ctx, cfg)
}

// takeDown is Down for a caller that holds the stack's lock.
func takeDown(ctx context.Context, cfg Config) error {
	st, err := readState(cfg.stateFile())
	if notThere(err) {
		st, err = &state{}, nil
	}
	if err == nil {
		err = discard(ctx, cfg, st)
	}
	if err != nil {
		return fmt.Errorf("take down stack %q: %w", cfg.Name, err)
	}
	return nil
}

func lockStack(ctx context.Context, cfg Config, say *progress) (*fileLock, error) {
	return lock(ctx, cfg.lockFile(), func() {
		say.printf("waiting for another process that brings stack %q up or down …", cfg.Name)
	})
}

// reachGiven checks that the given servers are there, so that a wrong URL is told at once and by its variable's name.
func reachGiven(ctx context.Context, given Services) error {
	for i, address := range []string{given.MongoDB, given.PostgreSQL, given.RabbitMQ, given.Management} {
		if err := reach(ctx, address); err != nil {
			key := []string{EnvMongoDB, EnvPostgreSQL, EnvRabbitMQ, EnvManagement}[i]
			return fmt.Errorf("the server given by %s cannot be reached: %w", key, err)
		}
	}
	return nil
}
