//go:build !race

package reconcile_test

// raced tells whether the race detector looks.
const raced = false
