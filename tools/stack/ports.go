package stack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Ports are taken from this range. It lies below the ports that Linux gives to outgoing connections (32768 and up),
// so that no client's connection sits on a server's port while the server is being started again.
const (
	lowestPort  = 20000
	highestPort = 32000
)

// reservation is how long a port that one process chose is left alone by others; servers need a few seconds from
// the choice to listening.
const reservation = 2 * time.Minute

// reservePorts chooses n free loopback ports. Marks in dir keep processes that choose at the same time, such as the
// tests of several packages, from choosing the same ones.
func reservePorts(ctx context.Context, dir string, n int) ([]int, error) {
	held, err := lock(ctx, filepath.Join(dir, "lock"), nil)
	if err != nil {
		return nil, fmt.Errorf("reserve ports: %w", err)
	}
	defer held.release()
	forgetMarks(dir)
	var ports []int
	for range 1000 {
		if len(ports) == n {
			return ports, nil
		}
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		mark := filepath.Join(dir, strconv.Itoa(port))
		if exists(mark) || portFree(ctx, port) != nil {
			continue
		}
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			return nil, fmt.Errorf("reserve port %d: %w", port, err)
		}
		ports = append(ports, port)
	}
	return nil, errors.New("reserve ports: nearly all loopback ports from 20000 to 32000 are taken")
}

// forgetMarks removes the marks of reservations that are over.
func forgetMarks(dir string) {
	marks, _ := filepath.Glob(filepath.Join(dir, "[0-9]*"))
	for _, mark := range marks {
		if info, err := os.Stat(mark); err == nil && time.Since(info.ModTime()) > reservation {
			_ = os.Remove(mark) // if it stays, its port is only left out
		}
	}
}

// portFree returns nil if a server could listen on the loopback port now.
func portFree(ctx context.Context, port int) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback(port))
	if err != nil {
		return fmt.Errorf("port %d is taken by another process: %w", port, err)
	}
	return listener.Close()
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
