// Package stack gives tests, the demo and the benchmarks real servers of their own: one that speaks the MongoDB
// protocol, with authentication, PostgreSQL, and RabbitMQ with its management plugin. Nothing is started
// system-wide, everything listens on loopback only, and several stacks run side by side under different names.
//
// Where the servers come from, in this order:
//
//  1. given: the four STACK_…_URL variables name servers that exist already;
//  2. docker: a Docker engine that answers runs compose.yaml of the repository root;
//  3. rootfs: on Debian, as root, a private root file system is built once into the cache folder, and its
//     servers run in it as an unprivileged user, each in namespaces of its own.
//
// The rootfs backend keeps two promises through namespaces. Whatever ends a server ends all its children, since
// they share a PID namespace that dies with its first process; and no mount outlives a server, since its mounts
// live in a mount namespace that nothing else is in.
//
// The package uses the standard library only: it must build and run before anything else of the project does.
package stack
