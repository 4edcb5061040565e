package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// packageVersion returns the version of a package that is installed in the root file system, as dpkg wrote it down.
func packageVersion(root, name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "var/lib/dpkg/status"))
	if err != nil {
		return "", fmt.Errorf("look up the version of %s: %w", name, err)
	}
	for stanza := range strings.SplitSeq(string(text), "\n\n") {
		if !strings.HasPrefix(stanza, "Package: "+name+"\n") || !strings.Contains(stanza, "\nStatus: install ok installed\n") {
			continue
		}
		for line := range strings.Lines(stanza) {
			if version, found := strings.CutPrefix(line, "Version: "); found {
				return strings.TrimSpace(version), nil
			}
		}
	}
	return "", fmt.Errorf("package %s is not installed in %s", name, root)
}

// upstream strips what Debian adds to a version: the epoch before ':' and the revision after the last '-'.
func upstream(version string) string {
	if _, after, found := strings.Cut(version, ":"); found {
		version = after
	}
	if revision := strings.LastIndexByte(version, '-'); revision >= 0 {
		version = version[:revision]
	}
	return version
}
