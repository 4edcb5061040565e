package stack

import (
	"fmt"
	"os"
	"strings"
)

// The environment variables that name servers, and that a command under "stack run" finds set.
const (
	EnvMongoDB    = "STACK_MONGODB_URL"
	EnvPostgreSQL = "STACK_POSTGRES_URL"
	EnvRabbitMQ   = "STACK_RABBITMQ_URL"
	EnvManagement = "STACK_RABBITMQ_MANAGEMENT_URL"
)

// Services says where a stack's servers answer. The URLs carry credentials.
type Services struct {
	MongoDB    string `json:"mongodb"`    // mongodb://user:password@127.0.0.1:port/; the user may create databases
	PostgreSQL string `json:"postgresql"` // postgres://user:password@127.0.0.1:port/postgres?sslmode=disable; a superuser
	RabbitMQ   string `json:"rabbitmq"`   // amqp://user:password@127.0.0.1:port/; an administrator
	Management string `json:"management"` // http://user:password@127.0.0.1:port, RabbitMQ's management UI and API
}

// Environ returns the services as KEY=VALUE, in a fixed order, as os/exec wants them.
func (s Services) Environ() []string {
	return []string{
		EnvMongoDB + "=" + s.MongoDB,
		EnvPostgreSQL + "=" + s.PostgreSQL,
		EnvRabbitMQ + "=" + s.RabbitMQ,
		EnvManagement + "=" + s.Management,
	}
}

// Exports returns the services as lines that a POSIX shell can evaluate.
func (s Services) Exports() string {
	var b strings.Builder
	for _, pair := range s.Environ() {
		key, value, _ := strings.Cut(pair, "=")
		fmt.Fprintf(&b, "export %s='%s'\n", key, strings.ReplaceAll(value, "'", `'\''`))
	}
	return b.String()
}

// servicesFromEnv reads the four variables; a variable that is not set leaves its field empty.
func servicesFromEnv() Services {
	return Services{
		MongoDB:    os.Getenv(EnvMongoDB),
		PostgreSQL: os.Getenv(EnvPostgreSQL),
		RabbitMQ:   os.Getenv(EnvRabbitMQ),
		Management: os.Getenv(EnvManagement),
	}
}

// missing names the variables whose URL is not there.
func (s Services) missing() []string {
	var names []string
	for _, pair := range s.Environ() {
		if key, value, _ := strings.Cut(pair, "="); value == "" {
			names = append(names, key)
		}
	}
	return names
}
