package parking;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/** What a contestant says on standard output: one line for each run. */
public final class Report {
    private Report() {}

    public static void run(double seconds, double cpuSeconds, long memberships) throws IOException {
        System.out.printf(
                Locale.ROOT,
                "{\"seconds\":%.6f,\"cpu_s\":%.6f,\"memberships\":%d,\"peak_mb\":%.1f}%n",
                seconds, cpuSeconds, memberships, peakMegabytes());
        System.out.flush();
    }

    /** All threads of this process: collector and compiler too. */
    public static double cpuSeconds() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() / 1e9;
    }

    /** The most memory this process ever had, as the kernel counts it. */
    private static double peakMegabytes() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Double.parseDouble(line.replaceAll("[^0-9]", "")) / 1024;
            }
        }
        return Double.NaN;
    }
}
