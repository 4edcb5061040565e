package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

const ferretPackage = "github.com/FerretDB/FerretDB/v2/cmd/ferretdb"

// ferretVersion finds FerretDB's version in the text of its module file.
var ferretVersion = regexp.MustCompile(`(?m)^\s*github\.com/FerretDB/FerretDB/v2 v(\S+)`)

// ferretBuild is FerretDB's finished program.
type ferretBuild struct {
	program string // path
	version string
}

// buildFerretDB returns FerretDB's program and builds it first if it is not there yet. It has a module of its own
// below this folder, so that its many dependencies are none of the product's.
func buildFerretDB(ctx context.Context, cfg Config, say *progress) (ferretBuild, error) {
	sources, err := repository()
	if err != nil {
		return ferretBuild{}, err
	}
	module := filepath.Join(sources, "tools", "stack", "ferretdb")
	var texts []string
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(module, file))
		if err != nil {
			return ferretBuild{}, fmt.Errorf("read FerretDB's module: %w", err)
		}
		texts = append(texts, string(text))
	}
	match := ferretVersion.FindStringSubmatch(texts[0])
	if match == nil {
		return ferretBuild{}, fmt.Errorf("%s does not name FerretDB's version", filepath.Join(module, "go.mod"))
	}
	build := ferretBuild{version: match[1]}
	folder := filepath.Join(cfg.Dir, "ferretdb", build.version+"-"+fingerprint(texts...))
	build.program = filepath.Join(folder, "ferretdb")
	busy := func() { say.printf("waiting for another process that builds FerretDB …") }
	err = artifact(ctx, folder, busy, func(building string) error {
		say.printf("building FerretDB %s (once, about 2 minutes) …", build.version)
		begun := time.Now()
		if err := compileFerretDB(ctx, module, building); err != nil {
			return err
		}
		say.printf("built FerretDB in %s", time.Since(begun).Round(time.Second))
		return nil
	})
	if err != nil {
		return ferretBuild{}, fmt.Errorf("build FerretDB: %w", err)
	}
	return build, nil
}

// compileFerretDB builds the program into folder. It runs confined, so that the compiler ends with this process.
func compileFerretDB(ctx context.Context, module, folder string) error {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return errors.New("the go command is not found: put it into PATH")
	}
	compiler := confined{
		root: "/", dir: folder, user: 0,
		// The caller's environment holds the caches and the proxy to use, but maybe flags meant for other modules. A
		// static program runs on any root file system.
		env:  append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0", "PWD="+module),
		argv: []string{goCommand, "build", "-C", module, "-trimpath", "-o", home + "/ferretdb", ferretPackage},
	}
	var output bytes.Buffer
	if err := compiler.runTo(ctx, &output); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w; its last lines:\n%s", err, lastLines(output.String(), 12))
	}
	return nil
}
