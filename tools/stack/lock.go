package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// pollInterval is how often a condition outside this process is looked at again.
const pollInterval = 50 * time.Millisecond

// fileLock is an advisory lock on a file. The kernel lets go of it when the process ends, however it ends.
type fileLock struct{ file *os.File }

// errLocked says that somebody else holds the lock.
var errLocked = errors.New("locked by another process")

// tryLock takes the lock at path, exclusive or shared, or returns errLocked at once. The file is made if needed and
// stays: removing it would let two processes hold locks on two files of one name.
func tryLock(path string, exclusive bool) (*fileLock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("make the folder of lock %s: %w", path, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	how := syscall.LOCK_SH
	if exclusive {
		how = syscall.LOCK_EX
	}
	for {
		err = syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &fileLock{file}, nil
}

// lock takes the exclusive lock at path and waits for it as long as ctx allows; waiting is called once if it has to.
func lock(ctx context.Context, path string, waiting func()) (*fileLock, error) {
	for first := true; ; first = false {
		held, err := tryLock(path, true)
		if !errors.Is(err, errLocked) {
			return held, err
		}
		if first && waiting != nil {
			waiting()
		}
		if err := pause(ctx, pollInterval); err != nil {
			return nil, fmt.Errorf("wait for lock %s: %w", path, err)
		}
	}
}

func (l *fileLock) release() { _ = l.file.Close() }

// pause waits for d, or until ctx ends, and then returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
