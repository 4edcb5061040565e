package reconcile_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// checks is how many cases each property is tried with, unless the command line says
// otherwise: a case is a whole run, and often several.
const checks = "25"

// No test leaves a goroutine behind.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", checks); err != nil {
		panic(err) // rapid registers it
	}
	goleak.VerifyTestMain(m)
}
