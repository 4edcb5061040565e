package stack

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
)

// Report says what runs. It is made to be shown to a person: the URLs of a stack of ours carry its throw-away
// credentials, which are needed to log in; those of given servers are shown without passwords.
type Report struct {
	Name    string // the stack's name
	Profile string // ProfilePlatform or ProfileNext
	Backend string // BackendGiven, BackendDocker or BackendRootfs
	Servers []ServerReport
	UI      string // address of RabbitMQ's management UI, without credentials
	Login   string // "user / password" for the UI; empty for given servers
}

// ServerReport is a Report's line about one server.
type ServerReport struct {
	Name    string
	Version string // empty for given servers
	Address string // URL
	Problem string // why it does not answer; empty if it does
}

// Status looks at the stack and reports what runs. The error is ErrDown if there is no stack of this name; of a stack
// that is there, a server that does not answer is a Problem in the report, and no error.
func Status(ctx context.Context, cfg Config) (Report, error) {
	if err := cfg.validate(); err != nil {
		return Report{}, err
	}
	report := Report{Name: cfg.Name, Profile: cfg.Profile, Backend: BackendGiven}
	services, versions := cfg.Given, map[string]string{}
	if !cfg.given() {
		st, err := readState(cfg.stateFile())
		if notThere(err) {
			return Report{}, fmt.Errorf("stack %q: %w", cfg.Name, ErrDown)
		}
		if err != nil {
			return Report{}, err
		}
		report.Profile, report.Backend, services, versions = st.Profile, st.Backend, st.Services, st.Versions
	}
	for _, server := range []struct{ name, address, version string }{
		{"MongoDB protocol", services.MongoDB, versions[portMongoDB]},
		{"PostgreSQL", services.PostgreSQL, versions[portPostgreSQL]},
		{"RabbitMQ", services.RabbitMQ, versions[portAMQP]},
		{"RabbitMQ management", services.Management, versions[portAMQP]},
	} {
		line := ServerReport{Name: server.name, Version: server.version, Address: server.address}
		if err := reach(ctx, server.address); err != nil {
			line.Problem = err.Error()
		}
		if cfg.given() {
			line.Address = withoutPassword(line.Address)
		}
		report.Servers = append(report.Servers, line)
	}
	if ui, err := url.Parse(services.Management); err == nil {
		if password, known := ui.User.Password(); known && !cfg.given() {
			report.Login = ui.User.Username() + " / " + password
		}
		ui.User = nil
		report.UI = ui.String()
	}
	return report, nil
}

// withoutPassword hides the password in a URL, or all of a text that is none.
func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(set)"
	}
	return u.Redacted()
}

// Write prints the report as a small table.
func (r Report) Write(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "stack %q (%s, profile %s)\n", r.Name, r.Backend, r.Profile)
	for _, server := range r.Servers {
		state := server.Version
		if server.Problem != "" {
			state = "does not answer: " + server.Problem
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", server.Name, server.Address, state)
	}
	if r.Login != "" {
		fmt.Fprintf(table, "  management UI\t%s\tlogin: %s\n", r.UI, r.Login)
	}
	return table.Flush()
}
