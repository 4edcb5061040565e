package testenv

import (
	"os"
	"testing"
)

// longVariable asks for the tests that take minutes: `make test-all` sets it.
const longVariable = "LONG_TESTS"

// Long skips a test that takes minutes by nature unless such tests are asked for. Their
// names begin with TestLong.
func Long(tb testing.TB) {
	tb.Helper()
	if os.Getenv(longVariable) == "" {
		tb.Skipf("it takes minutes: %s=1 or `make test-all` runs it", longVariable)
	}
}
