package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// dockerTimeout is how long a Docker engine may take to say that it is there. A client without an engine sometimes
// waits for one without end.
const dockerTimeout = 5 * time.Second

// composeWait is how long containers may take until their health checks pass, the download of their images excepted.
const composeWait = 180 * time.Second

// dockerBackend runs the containers of the repository's compose.yaml, as a project named after the stack.
type dockerBackend struct {
	cfg Config
	say *progress
}

// dockerEngine returns nil if a Docker engine answers and the compose plugin is there.
func dockerEngine(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, dockerTimeout, fmt.Errorf("no answer within %s", dockerTimeout))
	defer cancel()
	for _, arguments := range [][]string{{"info", "--format", "{{.ServerVersion}}"}, {"compose", "version"}} {
		cmd := exec.CommandContext(ctx, "docker", arguments...)
		cmd.WaitDelay = time.Second // its plugins may hold the output open
		output, err := cmd.CombinedOutput()
		switch {
		case errors.Is(err, exec.ErrNotFound):
			return errors.New("the docker command is not installed")
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("docker %s: %s", arguments[0], strings.TrimSpace(lastLines(string(output), 1)))
		}
	}
	return nil
}

func (b dockerBackend) portNames() []string {
	return []string{portMongoDB, portPostgreSQL, portAMQP, portManagement}
}

func (b dockerBackend) project(st *state) (composeProject, error) {
	return newComposeProject(b.cfg, "etl-stack-"+b.cfg.Name, st.Ports)
}

func (b dockerBackend) up(ctx context.Context, st *state, save func() error) error {
	project, err := b.project(st)
	if err != nil {
		return err
	}
	if err := save(); err != nil {
		return err
	}
	b.say.printf("starting containers (their images are downloaded once) …")
	if _, err := project.run(ctx, "up", "--detach", "--wait", "--wait-timeout", strconv.Itoa(int(composeWait.Seconds()))); err != nil {
		return err
	}
	images, err := project.run(ctx, "config", "--images")
	if err != nil {
		return err
	}
	st.Versions = imageVersions(images)
	// The health checks passed inside the containers; what counts is what answers out here.
	login := project.login
	if err := pingMongoDB(ctx, login.url("mongodb", st.Ports[portMongoDB], "/")); err != nil {
		return err
	}
	if err := greetAMQP(ctx, login.url("amqp", st.Ports[portAMQP], "/")); err != nil {
		return err
	}
	if err := queryManagement(ctx, login.url("http", st.Ports[portManagement], "")); err != nil {
		return err
	}
	return reach(ctx, login.url("postgres", st.Ports[portPostgreSQL], "/"))
}

// imageVersions reads the servers' versions out of the image names, one a line, such as "postgres:15.10".
func imageVersions(images string) map[string]string {
	keys := map[string]string{"mongo": portMongoDB, "postgres": portPostgreSQL, "rabbitmq": portAMQP}
	versions := map[string]string{}
	for image := range strings.Lines(images) {
		name, tag, _ := strings.Cut(strings.TrimSpace(image), ":")
		if key, known := keys[filepath.Base(name)]; known {
			versions[key] = tag
		}
	}
	return versions
}

func (b dockerBackend) down(ctx context.Context, st *state) error {
	project, err := b.project(st)
	if err != nil {
		return err
	}
	_, err = project.run(ctx, "down", "--volumes", "--timeout", "5")
	return err
}

func (b dockerBackend) running(st *state) error {
	for _, name := range b.portNames() {
		conn, err := net.DialTimeout("tcp", loopback(st.Ports[name]), dockerTimeout) // Current has no context; the time-out bounds it
		if err != nil {
			return fmt.Errorf("%s does not answer: %w", name, err)
		}
		_ = conn.Close()
	}
	return nil
}

// postgresTags are the image's, by profile.
var postgresTags = map[string]string{ProfilePlatform: "15.10", ProfileNext: "18.1"}

// composeProject is one set of containers of compose.yaml.
type composeProject struct {
	name  string
	file  string
	env   []string
	login credentials
}

func newComposeProject(cfg Config, name string, ports map[string]int) (composeProject, error) {
	sources, err := repository()
	if err != nil {
		return composeProject{}, err
	}
	login, err := loadCredentials(cfg.Dir)
	if err != nil {
		return composeProject{}, err
	}
	return composeProject{
		name: name, file: filepath.Join(sources, "compose.yaml"), login: login,
		env: []string{
			"STACK_USER=" + login.User,
			"STACK_PASSWORD=" + login.Password,
			"STACK_MONGODB_PORT=" + strconv.Itoa(ports[portMongoDB]),
			"STACK_POSTGRES_TAG=" + postgresTags[cfg.Profile],
			"STACK_POSTGRES_PORT=" + strconv.Itoa(ports[portPostgreSQL]),
			"STACK_RABBITMQ_PORT=" + strconv.Itoa(ports[portAMQP]),
			"STACK_RABBITMQ_MANAGEMENT_PORT=" + strconv.Itoa(ports[portManagement]),
		},
	}, nil
}

// run runs docker compose on the project and returns what it printed.
func (p composeProject) run(ctx context.Context, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", append([]string{"compose", "--project-name", p.name, "--file", p.file}, arguments...)...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fmt.Errorf("docker compose %s: %w; its last lines:\n%s", arguments[0], err, lastLines(stderr.String(), 12))
	}
	return stdout.String(), nil
}
