package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const partial = ".partial"

// artifact returns path once it exists. If it does not, build makes it, under a lock that other processes wait for:
// build fills a folder beside path, and only the finished folder gets path's name. So an interrupted build is never
// used, whatever interrupted it; the next caller removes what is left of it. busy is called if the lock is taken.
func artifact(ctx context.Context, path string, busy func(), build func(folder string) error) error {
	if exists(path) {
		return nil
	}
	held, err := lock(ctx, path+".lock", busy)
	if err != nil {
		return err
	}
	defer held.release()
	if exists(path) {
		return nil
	}
	removeAbandoned(filepath.Dir(path))
	folder := path + partial
	if err := os.RemoveAll(folder); err != nil {
		return fmt.Errorf("remove a half-built %s: %w", folder, err)
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return fmt.Errorf("make the build folder: %w", err)
	}
	if err := build(folder); err != nil {
		return errors.Join(err, os.RemoveAll(folder))
	}
	if err := ctx.Err(); err != nil {
		return errors.Join(context.Cause(ctx), os.RemoveAll(folder))
	}
	if err := os.Rename(folder, path); err != nil {
		return fmt.Errorf("put the finished build in place: %w", err)
	}
	return nil
}

// removeAbandoned removes half-built folders whose builders are gone, those of other recipes included. What cannot be
// removed stays for the next time.
func removeAbandoned(dir string) {
	leftovers, _ := filepath.Glob(filepath.Join(dir, "*"+partial))
	for _, leftover := range leftovers {
		held, err := tryLock(strings.TrimSuffix(leftover, partial)+".lock", true)
		if err != nil {
			continue // being built right now
		}
		_ = os.RemoveAll(leftover)
		held.release()
	}
}

// fingerprint is a short name for all that goes into a build: another recipe gets another name.
func fingerprint(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d:%s", len(part), part) // the length keeps "ab","c" apart from "a","bc"
	}
	return hex.EncodeToString(hash.Sum(nil))[:12]
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
