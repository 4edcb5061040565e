// Package testenv gives each test its own corner of real servers: a database of products, a cart's database, a
// virtual host of the broker, and proxies for faults on the wire. Everything has a random name, so that tests run
// in parallel and several test processes share a stack, and everything is removed when its test ends.
//
// The servers are those of tools/stack. Where none run, tests fail and say how to start them; they never skip.
package testenv
