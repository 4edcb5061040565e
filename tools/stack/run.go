package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// Run brings up the stack, runs command with the four URL variables set, and returns the command's exit code: 128 plus
// the signal's number if a signal ended it. Signals that this process gets are forwarded to the command. A stack that
// a Run started is taken down when the last Run that uses it ends; one that Up started stays.
//
// STACK_BACKEND is set as well, to the stack's backend: StartBroker and StartPostgres take it as word that the URLs
// name a stack of ours, beside which they may start servers of their own. So is STACK_COMMAND, to this program, which
// starts them.
//
// Progress goes to log. ctx bounds the bringing up only; the command ends by itself or by a signal.
func Run(ctx context.Context, cfg Config, log io.Writer, command []string) (code int, err error) {
	if err := cfg.validate(); err != nil {
		return 0, err
	}
	if _, err := exec.LookPath(command[0]); err != nil { // told before servers are started for it
		return 0, fmt.Errorf("run the command: %w", err)
	}
	say := newProgress(log)
	if cfg.given() {
		services, err := bringUp(ctx, cfg, say, true)
		if err != nil {
			return 0, err
		}
		return runCommand(ctx, command, services.Environ())
	}
	leave, err := join(ctx, cfg)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, leave()) }()
	services, err := bringUp(ctx, cfg, say, true)
	if err != nil {
		return 0, err
	}
	st, err := readState(cfg.stateFile())
	if err != nil {
		return 0, err
	}
	program, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find this program: %w", err)
	}
	return runCommand(ctx, command, append(services.Environ(), "STACK_BACKEND="+st.Backend, "STACK_COMMAND="+program))
}

// join enters this process among the stack's users. The returned function takes it out again, and takes down a
// transient stack that has no users left.
func join(ctx context.Context, cfg Config) (leave func() error, err error) {
	// Under the stack's lock: nobody who is just leaving may take the stack down for want of users.
	held, err := lockStack(ctx, cfg, newProgress(nil))
	if err != nil {
		return nil, err
	}
	defer held.release()
	using, err := tryLock(cfg.usersFile(), false)
	if err != nil {
		return nil, fmt.Errorf("use stack %q: %w", cfg.Name, err)
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
		defer cancel()
		held, err := lockStack(ctx, cfg, newProgress(nil))
		if err != nil {
			return err
		}
		defer held.release()
		using.release()
		alone, err := tryLock(cfg.usersFile(), true)
		if errors.Is(err, errLocked) {
			return nil
		}
		if err != nil {
			return err
		}
		defer alone.release()
		st, err := readState(cfg.stateFile())
		if notThere(err) || err == nil && !st.Transient {
			return nil
		}
		return takeDown(ctx, cfg)
	}, nil
}

// runCommand runs the command on this process's standard streams, unless ctx has ended.
func runCommand(ctx context.Context, command, env []string) (int, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if ctx.Err() != nil { // a signal that came before it could be forwarded
		return 0, context.Cause(ctx)
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("run the command: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			// A terminal sends what its keys stand for to every process in the foreground, the command included.
			if (sig == syscall.SIGINT || sig == syscall.SIGQUIT) && inForeground() {
				continue
			}
			_ = cmd.Process.Signal(sig) // it may have ended meanwhile
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return 0, fmt.Errorf("run the command: %w", err)
			}
			status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if status.Signaled() {
				return 128 + int(status.Signal()), nil
			}
			return status.ExitStatus(), nil
		}
	}
}
