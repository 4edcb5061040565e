package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// nobody is the unprivileged user and group that servers run as; Debian gives them these numbers on every machine.
const nobody = 65534

// home is where a confined program finds its own folder: an empty directory of every Debian system.
const home = "/srv"

// confined is a program that runs in a root file system, as a given user, in mount, PID and IPC namespaces of its
// own. It sees its own folder at home, and only the processes it started.
type confined struct {
	root string   // "/" for the machine's own file system
	dir  string   // its own folder, outside root
	user int      // user and group
	env  []string // its whole environment
	argv []string // program and arguments, as seen inside root
}

// warden is the first process of a confined program's namespaces; it starts the program and waits for it. When the
// warden ends, the kernel kills all that is left in the PID namespace, and drops the mounts.
//
// It first waits for an order on standard input. Without one it ends: the parent died before it had written down
// which process this is. The order "stay" lets the program outlive the parent. After "leash" standard input stays
// open, and its end, which is the parent's end, ends the program too. TERM is handed on to the program.
const warden = `
root=${1%/} dir=$2 user=$3
shift 3
read -r order || exit 1
mount --bind "$dir" "$root` + home + `" || exit 1
mount -t proc proc "$root/proc" || exit 1
if [ -n "$root" ]; then mount --rbind /dev "$root/dev" || exit 1; fi
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec 3<&0 </dev/null
chroot --userspec="$user:$user" "$root/" "$@" 3<&- &
program=$!
trap 'kill -TERM $program 2>/dev/null' TERM
if [ "$order" = leash ]; then
	{ read -r never <&3; kill -KILL -1; } &
fi
exec 3<&-
while :; do
	wait $program
	status=$?
	kill -0 $program 2>/dev/null || exit $status
done
`

// instance is a confined program that this process started.
type instance struct {
	process
	order *os.File      // the leash: as long as it is open the program may live
	ended chan struct{} // closed when the program and all its children have ended
	err   error         // how it ended; valid once ended is closed
}

// start starts the program. known, if there is one, is told the process before the program runs; its error stops
// the start. A leashed program ends when this process ends, however that happens.
func (c confined) start(output io.Writer, leashed bool, known func(process) error) (*instance, error) {
	attributes, err := isolated()
	if err != nil {
		return nil, err
	}
	reading, order, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.argv[0], err)
	}
	arguments := append([]string{"-c", warden, "warden", c.root, c.dir, strconv.Itoa(c.user)}, c.argv...)
	cmd := exec.Command("/bin/sh", arguments...)
	cmd.Env, cmd.SysProcAttr = c.env, attributes
	cmd.Stdin, cmd.Stdout, cmd.Stderr = reading, output, output
	err = cmd.Start()
	_ = reading.Close()
	if err != nil {
		_ = order.Close()
		return nil, fmt.Errorf("start %s in namespaces of its own: %w", c.argv[0], err)
	}
	in := &instance{order: order, ended: make(chan struct{})}
	identity, err := identify(cmd.Process.Pid)
	go func() {
		in.err = cmd.Wait()
		close(in.ended)
	}()
	if err == nil && known != nil {
		err = known(identity)
	}
	if err == nil {
		in.process = identity
		if leashed {
			_, err = order.WriteString("leash\n")
		} else {
			_, err = order.WriteString("stay\n")
		}
	}
	if err != nil || !leashed {
		_ = order.Close() // without an order the warden ends by itself
	}
	if err != nil {
		<-in.ended
		return nil, fmt.Errorf("start %s: %w", c.argv[0], err)
	}
	return in, nil
}

// kill ends the program and its children with SIGKILL and waits until they are gone.
func (in *instance) kill() error {
	if err := in.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-in.ended
	_ = in.order.Close()
	return nil
}

// run runs the program to its end and returns what it printed. When ctx ends first it is killed.
func (c confined) run(ctx context.Context) (string, error) {
	var output bytes.Buffer
	err := c.runTo(ctx, &output)
	return output.String(), err
}

// runTo is run with the output going to a writer as it comes. The error holds no output.
func (c confined) runTo(ctx context.Context, output io.Writer) error {
	in, err := c.start(output, true, nil)
	if err != nil {
		return err
	}
	defer func() { _ = in.order.Close() }()
	select {
	case <-in.ended:
	case <-ctx.Done():
		if err := in.kill(); err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		return context.Cause(ctx)
	}
	if in.err != nil {
		return fmt.Errorf("%s: %w", c.argv[0], in.err)
	}
	return nil
}

// lastLines returns the last n lines of a program's output, indented to stand below a message.
func lastLines(output string, n int) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return "    " + strings.Join(lines, "\n    ")
}
