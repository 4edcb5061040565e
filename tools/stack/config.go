package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Where a stack's servers come from.
const (
	BackendAuto   = "auto"   // the first of given, docker and rootfs that works here
	BackendGiven  = "given"  // servers that exist already, named by URL
	BackendDocker = "docker" // containers of the repository's compose.yaml
	BackendRootfs = "rootfs" // servers out of a private Debian root file system
)

// The servers that a stack has: both ends of what the product supports.
const (
	ProfilePlatform = "platform" // as the platform has them today: PostgreSQL 15, classic queues
	ProfileNext     = "next"     // as it may have them next: PostgreSQL 18, quorum queues
)

// ErrDown says that no stack of this name is running, or that one of its servers has died.
var ErrDown = errors.New(`the stack is not running; start it with "make up"`)

// ErrUnsupported says that a private server cannot be had, because the stack's servers are somebody else's.
var ErrUnsupported = errors.New("the servers are given by environment variables, so none can be started or killed here")

// Config says which stack is meant and how it may be had. ConfigFromEnv fills it.
type Config struct {
	Given       Services // servers that exist already: all four URLs or none
	Dir         string   // cache folder: built file systems, and the data of running stacks
	Name        string   // the stack's name; stacks of different names run side by side
	Profile     string   // ProfilePlatform or ProfileNext
	Backend     string   // BackendAuto, BackendDocker or BackendRootfs
	Mirror      string   // Debian mirror; empty: as the machine's apt is configured
	PostgresBin string   // folder of the host's PostgreSQL 15 programs, used when they are there
}

// ConfigFromEnv reads the configuration from the environment: STACK_NAME (default), STACK_DIR (etl-stack in the
// user's cache folder), STACK_PROFILE (platform), STACK_BACKEND (auto), STACK_DEBIAN_MIRROR (the one of the machine's apt configuration),
// STACK_POSTGRES_BIN (where Debian installs PostgreSQL 15) and the four URLs. What is wrong with a value is
// reported by the function that uses the Config.
func ConfigFromEnv() Config {
	cfg := Config{
		Given:       servicesFromEnv(),
		Dir:         os.Getenv("STACK_DIR"),
		Name:        envOr("STACK_NAME", "default"),
		Profile:     envOr("STACK_PROFILE", ProfilePlatform),
		Backend:     envOr("STACK_BACKEND", BackendAuto),
		Mirror:      os.Getenv("STACK_DEBIAN_MIRROR"),
		PostgresBin: envOr("STACK_POSTGRES_BIN", "/usr/lib/postgresql/15/bin"),
	}
	if cfg.Dir == "" {
		// Without a home folder there is no cache folder; validate then asks for STACK_DIR.
		if cache, err := os.UserCacheDir(); err == nil {
			cfg.Dir = filepath.Join(cache, "etl-stack")
		}
	}
	return cfg
}

func envOr(key, otherwise string) string {
	if value := os.Getenv(key); value != "" {
		return value
	}
	return otherwise
}

// The name becomes part of file names and of the Docker project's name, which allows no more than this.
var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)

func (c Config) validate() error {
	if missing := c.Given.missing(); len(missing) > 0 && len(missing) < 4 {
		return fmt.Errorf("servers are given by environment variables, but %s not set: set all four, or none of them",
			strings.Join(missing, ", ")+isOrAre(len(missing)))
	}
	if !validName.MatchString(c.Name) {
		return fmt.Errorf("STACK_NAME is %q: use at most 40 lower-case letters, digits, '-' and '_'", c.Name)
	}
	if c.Profile != ProfilePlatform && c.Profile != ProfileNext {
		return fmt.Errorf("STACK_PROFILE is %q: use %s or %s", c.Profile, ProfilePlatform, ProfileNext)
	}
	switch c.Backend {
	case BackendAuto, BackendDocker, BackendRootfs:
	default:
		return fmt.Errorf("STACK_BACKEND is %q: use auto, docker or rootfs", c.Backend)
	}
	if c.Dir == "" {
		return errors.New("there is no cache folder for this user: set STACK_DIR to a folder for the stack's files")
	}
	if !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("STACK_DIR is %q: use an absolute path", c.Dir)
	}
	return nil
}

func isOrAre(n int) string {
	if n == 1 {
		return " is"
	}
	return " are"
}

// QueueType is the type that the platform's queues have.
func (c Config) QueueType() string {
	if c.Profile == ProfileNext {
		return "quorum"
	}
	return "classic"
}

// agrees checks that a running stack is of the configuration's profile.
func (c Config) agrees(st *state) error {
	if st.Profile != c.Profile {
		return fmt.Errorf("stack %q runs with the profile %s: set STACK_PROFILE to that, or use another STACK_NAME", c.Name, st.Profile)
	}
	return nil
}

// given tells whether the servers are named by URL. Valid only for a Config that validate accepts.
func (c Config) given() bool { return c.Given != Services{} }

func (c Config) stackDir() string  { return filepath.Join(c.Dir, "stacks", c.Name) }
func (c Config) stateFile() string { return filepath.Join(c.stackDir(), "state.json") }

// lockFile is held while a stack is brought up or taken down. It lies beside the stack's folder, not in it: the
// folder is removed under the lock.
func (c Config) lockFile() string { return c.stackDir() + ".lock" }

// usersFile is held, shared, by each Run that uses the stack.
func (c Config) usersFile() string { return c.stackDir() + ".users" }
