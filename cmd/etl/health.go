package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/api"
)

// newHealthCommand asks the service on this machine, as an image's health check does, which has
// no other program.
func newHealthCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var full bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the service on this machine whether it is ready",
		Long: `Asks the service that listens at ETL_HOST and PORT of this machine whether it is ready,
and says what it waits for where it is not: exit code 0 is ready, 3 is not. For containers without an orchestrator; Kubernetes asks by HTTP.`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&full, "full", false, "whether everything answers at this moment, not only whether it once did")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load(cmd.Context(), env, func(c *config) []section { return []section{&c.API} })
		if err != nil {
			return err
		}
		address := "http://" + net.JoinHostPort(localHost(c.API.Host), strconv.Itoa(c.API.Port)) + api.Prefix + "/ready"
		if full {
			address += "?full=true"
		}
		const timeout = 5 * time.Second
		request, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		answer, err := (&http.Client{Timeout: timeout}).Do(request)
		if err != nil {
			return fmt.Errorf("no service answers: %w", err)
		}
		defer func() { _ = answer.Body.Close() }()
		const most = 64 << 10
		said, err := io.ReadAll(io.LimitReader(answer.Body, most))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(t.out, printable(strings.TrimSpace(string(said)))); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return errNotReady
		}
		return nil
	}
	return cmd
}

var errNotReady = errors.New("the service is not ready")

// localHost is where this machine reaches a service that listens at a host.
func localHost(host string) string {
	host = strings.Trim(host, "[]")
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		return "localhost"
	}
	return host
}
