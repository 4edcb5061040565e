package testenv

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/servers"
)

var current = sync.OnceValues(func() (servers.Services, error) {
	return servers.Current(context.Background())
})

// Services says where the running stack's servers answer. It fails the test when no stack runs.
func Services(tb testing.TB) servers.Services {
	tb.Helper()
	services, err := current()
	if err != nil {
		tb.Fatalf("no servers to test with: %v", err)
	}
	return services
}

// Setting up and removing a test's things takes well under a second; a server that needs longer than this hangs.
const patience = 30 * time.Second

// setupContext bounds one step of setting something up.
func setupContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// cleanupContext bounds one clean-up. The test's own context has ended when clean-ups run.
func cleanupContext(tb testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
}

// randomName is a name that no other test has, valid for databases, roles and virtual hosts without quoting.
func randomName(kind string) string {
	return fmt.Sprintf("test_%s_%s", kind, strings.ToLower(rand.Text()[:12]))
}
