package stack

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
)

// isolated returns the attributes of a process that starts a session and namespaces of its own. Go makes the mounts
// of an unshared (not of a cloned) mount namespace private, so that none of them reaches the machine.
func isolated() (*syscall.SysProcAttr, error) {
	return &syscall.SysProcAttr{
		Setsid:       true,
		Cloneflags:   syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		Unshareflags: syscall.CLONE_NEWNS,
	}, nil
}

// canIsolate tells why namespaces cannot be had here, or nil.
func canIsolate(ctx context.Context) error {
	attributes, err := isolated()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/bin/true")
	cmd.SysProcAttr = attributes
	err = cmd.Run()
	if errors.Is(err, syscall.EPERM) {
		return errors.New("root may not create namespaces here (in a container this needs CAP_SYS_ADMIN)")
	}
	if err != nil {
		return fmt.Errorf("try to create namespaces: %w", err)
	}
	return nil
}
