package stack

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Browser returns the path of a Chromium for tests of pages. Where the machine has none it is
// installed with apt-get, which takes a Debian system and root.
func Browser(ctx context.Context, cfg Config, out io.Writer) (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	if !exists("/usr/bin/apt-get") || os.Geteuid() != 0 {
		return "", fmt.Errorf("there is no Chromium, and it cannot be installed here: that takes Debian's apt-get, as root")
	}
	return ensureProgram(ctx, cfg, newProgress(out), "chromium", "the browser that tests open pages in")
}
