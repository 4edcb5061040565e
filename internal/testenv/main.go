package testenv

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// parallel is how many tests run at once unless the command line says otherwise: they wait for servers and timeouts
// rather than compute.
const parallel = "8"

// Main runs the tests of a package whose TestMain calls it, and fails when they leave a goroutine behind.
func Main(m *testing.M) {
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err) // every test binary has this flag
	}
	UseNameServers()
	goleak.VerifyTestMain(m)
}
