package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Promtool returns the path of promtool, which tests alerts. Where the machine has none it is
// taken out of Debian's package of Prometheus, which is not installed: that would start a server.
func Promtool(ctx context.Context, cfg Config, out io.Writer) (string, error) {
	if path, err := exec.LookPath("promtool"); err == nil {
		return path, nil
	}
	dir := filepath.Join(cfg.Dir, "promtool")
	path := filepath.Join(dir, "usr", "bin", "promtool")
	held, err := lock(ctx, filepath.Join(cfg.Dir, "apt-get.lock"), nil)
	if err != nil {
		return "", err
	}
	defer held.release()
	if exists(path) {
		return path, nil
	}
	newProgress(out).printf("taking promtool out of Debian's package of Prometheus …")
	work, err := os.MkdirTemp(cfg.Dir, "promtool-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	script := `apt-get download prometheus || { apt-get update && apt-get download prometheus; } && dpkg-deb -x prometheus_*.deb taken && rm -rf "$1" && mv taken "$1"`
	cmd := exec.CommandContext(ctx, "sh", "-c", script, "sh", dir)
	cmd.Dir = work
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("get promtool: %w; its last lines:\n%s", errors.Join(err, context.Cause(ctx)), lastLines(string(output), 8))
	}
	return path, nil
}
