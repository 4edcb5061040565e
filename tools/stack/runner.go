package stack

import "context"

// runner is what the backends do for a Server, one call at a time.
type runner interface {
	start(ctx context.Context) error
	kill(ctx context.Context) error
	stop(ctx context.Context) error
	remove(ctx context.Context) error
}

// leashed runs a Server's program on this machine.
type leashed struct {
	server  server
	running *instance // nil if it does not run
}

func (l *leashed) start(ctx context.Context) error {
	if l.running != nil && l.running.alive() {
		return nil
	}
	in, err := l.server.start(ctx, true, nil)
	l.running = in
	return err
}

func (l *leashed) kill(context.Context) error {
	if l.running == nil {
		return nil
	}
	return l.running.kill()
}

func (l *leashed) stop(context.Context) error {
	if l.running == nil {
		return nil
	}
	return l.server.stop(l.running)
}

func (l *leashed) remove(ctx context.Context) error { return l.kill(ctx) }

// container runs a Server as one service of compose.yaml, in a project of its own.
type container struct {
	project composeProject
	service string
}

func newContainer(cfg Config, service, folder string, ports map[string]int) (*container, error) {
	project, err := newComposeProject(cfg, "etl-private-"+fingerprint(folder), ports)
	return &container{project, service}, err
}

func (c *container) start(ctx context.Context) error {
	_, err := c.project.run(ctx, "up", "--detach", "--wait", c.service)
	return err
}

func (c *container) kill(ctx context.Context) error {
	_, err := c.project.run(ctx, "kill", c.service)
	return err
}

func (c *container) stop(ctx context.Context) error {
	_, err := c.project.run(ctx, "stop", c.service)
	return err
}

func (c *container) remove(ctx context.Context) error {
	_, err := c.project.run(ctx, "down", "--volumes", "--timeout", "1")
	return err
}
