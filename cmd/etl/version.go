package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=…) for a release.
var version = "dev"

// built is the commit, set likewise where the sources come without their history.
var built = ""

func newVersionCommand(t terminal) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(t.out, "etl "+buildOf())
			return err
		},
	}
}

// buildOf is what the program was built from, for people.
func buildOf() string {
	build := version
	if r := revision(); r != "" {
		build += " (" + r + ")"
	}
	return fmt.Sprintf("%s, %s %s/%s", build, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// revision is the commit that the binary was built from, where that is known.
func revision() string {
	const shown = 12
	if built != "" {
		return built[:min(len(built), shown)]
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value[:min(len(s.Value), shown)]
			}
		}
	}
	return ""
}
