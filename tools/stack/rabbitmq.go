package stack

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// rabbitPorts are the loopback ports of one RabbitMQ node. Each node has an epmd, the Erlang port mapper, of its
// own, so that nodes neither see each other nor a RabbitMQ of the machine.
type rabbitPorts struct {
	amqp, management, distribution, epmd int
}

// rabbitServer returns a RabbitMQ node with its data in dir.
func rabbitServer(root, dir string, ports rabbitPorts, login credentials) server {
	return server{
		name:  "RabbitMQ",
		ports: []int{ports.amqp, ports.management, ports.distribution, ports.epmd},
		program: confined{
			root: root, dir: dir, user: nobody, env: rabbitEnv(ports),
			argv: []string{"/usr/lib/rabbitmq/bin/rabbitmq-server"},
		},
		prepare: func() error {
			return newFolder(dir, func(dir string) error { return configureRabbit(dir, ports, login) })
		},
		answers: func(ctx context.Context) error {
			if err := greetAMQP(ctx, login.url("amqp", ports.amqp, "/")); err != nil {
				return err
			}
			return queryManagement(ctx, login.url("http", ports.management, ""))
		},
	}
}

// rabbitctl returns rabbitmqctl with the node of that folder as its target. Both have the folder as their HOME, where
// Erlang keeps the cookie that lets them talk.
func rabbitctl(root, dir string, ports rabbitPorts, arguments ...string) confined {
	return confined{
		root: root, dir: dir, user: nobody, env: rabbitEnv(ports),
		argv: append([]string{"/usr/lib/rabbitmq/bin/rabbitmqctl"}, arguments...),
	}
}

func rabbitEnv(ports rabbitPorts) []string {
	loopbackOnly := "-kernel inet_dist_use_interface {127,0,0,1}"
	return append([]string{
		"RABBITMQ_NODENAME=rabbit@localhost",
		"RABBITMQ_CONFIG_FILE=" + home + "/rabbitmq.conf",
		"RABBITMQ_CONF_ENV_FILE=/dev/null", // the package's own would override some of these
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + home + "/enabled_plugins",
		"RABBITMQ_MNESIA_BASE=" + home + "/data",
		"RABBITMQ_LOG_BASE=" + home + "/log",
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(ports.distribution),
		"ERL_EPMD_PORT=" + strconv.Itoa(ports.epmd),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 2:2 " + loopbackOnly,
		"RABBITMQ_CTL_ERL_ARGS=+S 1:1 " + loopbackOnly,
		// The start script then becomes the server, instead of waiting for it, and TERM reaches the server at once.
		"RUNNING_UNDER_SYSTEMD=true",
	}, baseEnv...)
}

// configureRabbit writes the node's configuration into dir.
func configureRabbit(dir string, ports rabbitPorts, login credentials) error {
	settings := []string{
		"listeners.tcp.1 = " + loopback(ports.amqp),
		"management.tcp.ip = 127.0.0.1",
		"management.tcp.port = " + strconv.Itoa(ports.management),
		"default_user = " + login.User,
		"default_pass = " + login.Password,
		"default_user_tags.administrator = true",
		"loopback_users = none",
		"vm_memory_high_watermark.absolute = 1GB",
		"disk_free_limit.absolute = 50MB",
		"log.file = rabbitmq.log",
	}
	files := map[string]string{
		"rabbitmq.conf":   strings.Join(settings, "\n") + "\n",
		"enabled_plugins": "[rabbitmq_management].\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
