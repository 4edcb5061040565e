package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// process identifies one process for as long as the machine's file system lasts: a PID alone is given to another
// process sooner or later, so its start time and the boot that both belong to are kept with it.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks from boot to the process's start
	Boot  string `json:"boot"`  // the kernel's id of that boot
}

// identify returns the identity of a running process.
func identify(pid int) (process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	state, start, err := parseStat(string(stat))
	if err != nil {
		return process{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	if state == 'Z' || state == 'X' {
		return process{}, fmt.Errorf("identify process %d: it has ended", pid)
	}
	boot, err := bootID()
	if err != nil {
		return process{}, err
	}
	return process{PID: pid, Start: start, Boot: boot}, nil
}

// parseStat reads state and start time out of /proc/PID/stat (proc_pid_stat(5), fields 3 and 22). The second field,
// the program's name in parentheses, may hold spaces and parentheses itself, so counting begins after the last one.
func parseStat(stat string) (state byte, start uint64, err error) {
	_, rest := stat[:strings.LastIndexByte(stat, ')')+1], stat[strings.LastIndexByte(stat, ')')+1:]
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("process status %q is not as expected", stat)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("start time in process status: %w", err)
	}
	return fields[0][0], start, nil
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// alive tells whether this very process still runs.
func (p process) alive() bool {
	now, err := identify(p.PID)
	return err == nil && now == p
}

// signal sends sig to this very process; that it has ended already is no error.
func (p process) signal(sig syscall.Signal) error {
	// Where the kernel can, FindProcess returns a handle on the process instead of its number. Identity is checked
	// with the handle open, so the PID cannot be given to another process between the check and the signal.
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return nil
	}
	defer func() { _ = handle.Release() }()
	if !p.alive() {
		return nil
	}
	if err := handle.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// awaitEnd waits until the process has ended, or returns ctx's error.
func (p process) awaitEnd(ctx context.Context) error {
	for p.alive() {
		if err := pause(ctx, pollInterval); err != nil {
			return fmt.Errorf("wait for the end of process %d: %w", p.PID, err)
		}
	}
	return nil
}
