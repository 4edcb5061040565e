package stack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestArtifactBuiltOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "thing")
	var builds atomic.Int32
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			err := artifact(t.Context(), path, nil, func(folder string) error {
				builds.Add(1)
				return os.WriteFile(filepath.Join(folder, "file"), nil, 0o644)
			})
			if err != nil || !exists(filepath.Join(path, "file")) {
				t.Errorf("artifact: %v", err)
			}
		})
	}
	group.Wait()
	if n := builds.Load(); n != 1 {
		t.Errorf("built %d times", n)
	}
}

func TestArtifactFailedOrInterrupted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "thing")
	broken := errors.New("broken")
	err := artifact(t.Context(), path, nil, func(string) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("artifact: %v, want the build's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = artifact(ctx, path, nil, func(string) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("artifact: %v, want the context's error", err)
	}
	if exists(path) || exists(path+partial) {
		t.Error("a build that did not end well left something")
	}
}

// A process that is killed while it builds leaves its folder; the next build of anything beside it takes it away,
// unless it is being built right now.
func TestArtifactLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"abandoned", "busy", "thing"} {
		if err := os.MkdirAll(filepath.Join(dir, name+partial, "half"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	held, err := tryLock(filepath.Join(dir, "busy.lock"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer held.release()
	thing := filepath.Join(dir, "thing")
	err = artifact(t.Context(), thing, nil, func(folder string) error {
		if exists(filepath.Join(folder, "half")) {
			t.Error("the build starts on another one's leftovers")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Join(dir, "abandoned"+partial)) {
		t.Error("an abandoned build is still there")
	}
	if !exists(filepath.Join(dir, "busy"+partial)) {
		t.Error("a build under way was removed")
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "folder", "lock")
	first, err := tryLock(path, false)
	if err != nil {
		t.Fatal(err)
	}
	second, err := tryLock(path, false)
	if err != nil {
		t.Fatalf("two share a lock: %v", err)
	}
	second.release()
	waited := false
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	if _, err := lock(ctx, path, func() { waited = true; cancel(enough) }); !errors.Is(err, enough) || !waited {
		t.Errorf("lock: %v, waited %v; want it to wait for the context's end", err, waited)
	}
	first.release()
	if held, err := lock(t.Context(), path, func() { t.Error("waits for a lock that is free") }); err != nil {
		t.Error(err)
	} else {
		held.release()
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := pause(t.Context(), time.Hour); err != nil || time.Since(begun) != time.Hour {
			t.Errorf("pause: %v after %s", err, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := pause(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Hour+time.Minute {
			t.Errorf("pause: %v after %s", err, time.Since(begun))
		}
	})
}

func TestInParallel(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	err := inParallel(t.Context(),
		func(context.Context) error { return broken },
		func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
	)
	if !errors.Is(err, broken) {
		t.Errorf("inParallel: %v, want the first error", err)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	logins := make([]credentials, 8)
	var group sync.WaitGroup
	for i := range logins {
		group.Go(func() {
			var err error
			if logins[i], err = loadCredentials(dir); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, login := range logins {
		if login != logins[0] || login.User == "" || len(login.Password) < 20 {
			t.Errorf("credentials differ or are weak: %+v", logins)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left beside the credentials: %v (%v)", entries, err)
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	if fingerprint("ab", "c") == fingerprint("a", "bc") {
		t.Error("the boundary between two parts does not count")
	}
}
