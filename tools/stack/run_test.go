package stack

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Parallel()
	cfg := Config{Given: givenServers(t), Dir: t.TempDir(), Name: "default", Profile: ProfilePlatform, Backend: BackendAuto}
	note := filepath.Join(t.TempDir(), "note")
	code, err := Run(t.Context(), cfg, io.Discard, []string{"sh", "-c", `echo "$` + EnvMongoDB + `" > ` + note + `; exit 7`})
	if err != nil || code != 7 {
		t.Errorf("Run = %d, %v; want the command's code 7", code, err)
	}
	if text, err := os.ReadFile(note); err != nil || strings.TrimSpace(string(text)) != cfg.Given.MongoDB {
		t.Errorf("the command sees %q (%v), want %q", text, err, cfg.Given.MongoDB)
	}
	if code, err := Run(t.Context(), cfg, io.Discard, []string{"sh", "-c", "kill -TERM $$"}); err != nil || code != 128+15 {
		t.Errorf("Run = %d, %v; want 143 for a command that TERM ended", code, err)
	}
	if _, err := Run(t.Context(), cfg, io.Discard, []string{"no-such-command"}); err == nil {
		t.Error("Run of a command that is not there succeeds")
	}
}
